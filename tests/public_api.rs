//! The public interface, listed: a change of it shows in `tests/public_api.txt`, and is meant.
//!
//! What tools for this (cargo-public-api, cargo-semver-checks) ask of the compiler only its nightly versions tell, so
//! this reads the sources: from `src/lib.rs` through everything that it makes public and doesn't hide. It lists names and
//! signatures as they are written, methods and trait implementations included. Derived traits are listed as such.
//!
//! `OUTLIVE_TEST_BLESS=1 cargo test --test public_api` writes the list anew.

#![allow(clippy::unwrap_used, reason = "a test may panic; Clippy only knows that of functions marked as tests")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use support::example::Example;
use syn::{Attribute, Fields, ImplItem, Item, Meta, TraitItem, Type, UseTree, Visibility};

const LIST: &str = "tests/public_api.txt";

#[test]
fn is_as_listed() {
    let mut api = Api::default();
    let root = Module::read(Path::new("src/lib.rs"));
    api.public_items(&root, "outlive");
    let found: String = api.lines.iter().map(|line| format!("{line}\n")).collect();
    if std::env::var_os("OUTLIVE_TEST_BLESS").is_some() {
        fs::write(LIST, &found).unwrap();
    }
    let listed = fs::read_to_string(LIST).unwrap();
    let (found, listed): (BTreeSet<_>, BTreeSet<_>) = (found.lines().collect(), listed.lines().collect());
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "the public interface has changed; if that is meant, list it (OUTLIVE_TEST_BLESS=1) and say so in CHANGELOG.md\n\
         new: {new:#?}\ngone: {gone:#?}"
    );
}

/// What can be named belongs to the four whose types users have anyhow, or to the standard library.
#[test]
fn names_no_other_crates_types() {
    let listed = fs::read_to_string(LIST).unwrap();
    for other in
        ["rustix", "hyper_util", "serde_json", "slab", "pin_project", "tracing", "listenfd", "sd_notify", "axum"]
    {
        let lines: Vec<_> = listed.lines().filter(|line| line.contains(&format!("{other} ::"))).collect();
        assert!(lines.is_empty(), "{other}: {lines:#?}");
    }
}

/// A source file, and where its submodules are.
struct Module {
    items: Vec<Item>,
    folder: PathBuf,
}

impl Module {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let named = path.file_stem().is_some_and(|stem| stem != "mod" && stem != "lib");
        Self {
            items: syn::parse_file(&text).unwrap().items,
            folder: if named { path.with_extension("") } else { path.parent().unwrap().to_owned() },
        }
    }

    fn submodule(&self, name: &str) -> Self {
        let file = self.folder.join(format!("{name}.rs"));
        Self::read(&if file.exists() { file } else { self.folder.join(name).join("mod.rs") })
    }
}

#[derive(Default)]
struct Api {
    lines: BTreeSet<String>,
}

impl Api {
    /// Everything that a public module makes public.
    fn public_items(&mut self, module: &Module, path: &str) {
        for item in &module.items {
            match item {
                Item::Mod(submodule) if is_public(&submodule.vis) && !is_hidden(&submodule.attrs) => {
                    let path = format!("{path}::{}", submodule.ident);
                    self.lines.insert(format!("mod {path}"));
                    let inner = match &submodule.content {
                        Some((_, items)) => Module { items: items.clone(), folder: module.folder.clone() },
                        None => module.submodule(&submodule.ident.to_string()),
                    };
                    self.public_items(&inner, &path);
                }
                Item::Use(reexport) if is_public(&reexport.vis) => self.reexport(module, &reexport.tree, path),
                item => {
                    if let Some(name) = name(item) {
                        self.item(module, &name, &format!("{path}::{name}"));
                    }
                }
            }
        }
    }

    /// Follows `pub use` to where the item is.
    fn reexport(&mut self, module: &Module, tree: &UseTree, path: &str) {
        match tree {
            UseTree::Path(part) if part.ident == "crate" || part.ident == "self" => {
                let root = Module::read(Path::new("src/lib.rs"));
                self.reexport(if part.ident == "self" { module } else { &root }, &part.tree, path);
            }
            UseTree::Path(part) => self.reexport(&module.submodule(&part.ident.to_string()), &part.tree, path),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.reexport(module, tree, path)),
            UseTree::Name(name) => self.named(module, &name.ident.to_string(), &format!("{path}::{}", name.ident)),
            UseTree::Rename(name) => self.named(module, &name.ident.to_string(), &format!("{path}::{}", name.rename)),
            UseTree::Glob(_) => panic!("a glob makes public what nobody has listed: {path}"),
        }
    }

    fn named(&mut self, module: &Module, name: &str, path: &str) {
        let is_module = |item: &&Item| matches!(item, Item::Mod(module) if module.ident == name);
        if module.items.iter().find(is_module).is_some() {
            self.lines.insert(format!("mod {path}"));
            return self.public_items(&module.submodule(name), path);
        }
        self.item(module, name, path);
    }

    /// An item of a module, or one that the module has from elsewhere.
    fn item(&mut self, module: &Module, wanted: &str, path: &str) {
        let Some(item) = module.items.iter().find(|item| name(item).as_deref() == Some(wanted)) else {
            let (from, tree) = module.items.iter().find_map(|item| imported(item, wanted)).unwrap_or_else(|| {
                panic!("{path} is nowhere to be found");
            });
            let parent = path.rsplit_once("::").unwrap().0;
            let tree = UseTree::Rename(syn::UseRename {
                ident: syn::Ident::new(&from, proc_macro2::Span::call_site()),
                as_token: Default::default(),
                rename: syn::Ident::new(path.rsplit("::").next().unwrap(), proc_macro2::Span::call_site()),
            })
            .within(tree);
            return self.reexport(module, &tree, parent);
        };
        match item {
            Item::Struct(item) => {
                let generics = &item.generics;
                self.declare("struct", path, &item.attrs, generics.to_token_stream().to_string());
                self.fields(path, &item.fields, false);
            }
            Item::Enum(item) => {
                self.declare("enum", path, &item.attrs, item.generics.to_token_stream().to_string());
                for variant in &item.variants {
                    let path = format!("{path}::{}", variant.ident);
                    self.lines.insert(format!("variant {path}{}", attributes(&variant.attrs)));
                    self.fields(&path, &variant.fields, true);
                }
            }
            Item::Trait(item) => {
                let bounds = item.supertraits.to_token_stream();
                self.declare("trait", path, &item.attrs, format!("{} : {bounds}", item.generics.to_token_stream()));
                for item in &item.items {
                    if let TraitItem::Fn(item) = item {
                        self.lines.insert(format!("{path}: {}", item.sig.to_token_stream()));
                    }
                }
            }
            Item::Const(item) => {
                self.lines.insert(format!("const {path}: {}", item.ty.to_token_stream()));
            }
            Item::Fn(item) => {
                self.lines.insert(format!("fn {path}: {}", item.sig.to_token_stream()));
            }
            Item::Type(item) => {
                self.lines.insert(format!("type {path} = {}", item.ty.to_token_stream()));
            }
            other => panic!("{path}: {}", other.to_token_stream()),
        }
        self.implementations(module, wanted, path);
    }

    fn declare(&mut self, kind: &str, path: &str, attrs: &[Attribute], rest: String) {
        self.lines.insert(format!("{kind} {path}{rest}{}", attributes(attrs)));
    }

    fn fields(&mut self, path: &str, fields: &Fields, all: bool) {
        for (index, field) in fields.iter().enumerate() {
            if all || is_public(&field.vis) {
                let name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
                self.lines.insert(format!("field {path}::{name}: {}", field.ty.to_token_stream()));
            }
        }
    }

    /// Those in the file where the type is; this project has them nowhere else.
    fn implementations(&mut self, module: &Module, of: &str, path: &str) {
        for item in &module.items {
            let Item::Impl(item) = item else { continue };
            let Type::Path(implementer) = &*item.self_ty else { continue };
            if implementer.path.segments.last().is_none_or(|segment| segment.ident != of) {
                continue;
            }
            if let Some((implemented, _)) = &item.trait_ {
                self.lines.insert(format!("impl {} for {path}", implemented.to_token_stream()));
                continue;
            }
            for item in &item.items {
                if let ImplItem::Fn(item) = item
                    && is_public(&item.vis)
                    && !is_hidden(&item.attrs)
                {
                    self.lines.insert(format!("{path}: {}{}", item.sig.to_token_stream(), attributes(&item.attrs)));
                }
            }
        }
    }
}

trait Within {
    fn within(self, path: Vec<syn::Ident>) -> UseTree;
}

impl Within for UseTree {
    fn within(self, path: Vec<syn::Ident>) -> UseTree {
        path.into_iter().rev().fold(self, |tree, ident| {
            UseTree::Path(syn::UsePath { ident, colon2_token: Default::default(), tree: Box::new(tree) })
        })
    }
}

/// What an item is called, if it is public.
fn name(item: &Item) -> Option<String> {
    let (visible, ident) = match item {
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Enum(item) => (&item.vis, &item.ident),
        Item::Trait(item) => (&item.vis, &item.ident),
        Item::Const(item) => (&item.vis, &item.ident),
        Item::Fn(item) => (&item.vis, &item.sig.ident),
        Item::Type(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    is_public(visible).then(|| ident.to_string())
}

/// If a `use` brings a name in: what it is called there, and by which way.
fn imported(item: &Item, wanted: &str) -> Option<(String, Vec<syn::Ident>)> {
    fn find(tree: &UseTree, wanted: &str, path: &mut Vec<syn::Ident>) -> Option<String> {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.clone());
                let found = find(&part.tree, wanted, path);
                if found.is_none() {
                    path.pop();
                }
                found
            }
            UseTree::Group(group) => group.items.iter().find_map(|tree| find(tree, wanted, path)),
            UseTree::Name(name) => (name.ident == wanted).then(|| wanted.to_owned()),
            UseTree::Rename(name) => (name.rename == wanted).then(|| name.ident.to_string()),
            UseTree::Glob(_) => None,
        }
    }
    let Item::Use(item) = item else { return None };
    let mut path = Vec::new();
    find(&item.tree, wanted, &mut path).map(|name| (name, path))
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|one| one.path().is_ident("doc") && one.to_token_stream().to_string().contains("hidden"))
}

/// Those that are part of the interface.
fn attributes(all: &[Attribute]) -> String {
    let counts = ["derive", "non_exhaustive", "must_use", "cfg"];
    let all = all.iter().filter(|one| counts.iter().any(|name| one.path().is_ident(name)));
    all.map(|one| match &one.meta {
        Meta::NameValue(_) => format!(" #[{}]", one.path().to_token_stream()),
        meta => format!(" #[{}]", meta.to_token_stream()),
    })
    .collect()
}

/// The files of the program, and the one that it shares with the library by its text.
const PROGRAM: [&str; 7] =
    ["cli.rs", "config/mod.rs", "entries.rs", "rehearse/mod.rs", "route/mod.rs", "service.rs", "visible.rs"];

/// The program is built of what every program can use: as a crate of its own, where nothing of the library is in reach
/// but its public names, it compiles.
#[test]
fn the_program_is_built_on_the_public_interface() {
    let listed = fs::read_to_string(LIST).unwrap();
    let name = |line: &str| {
        let (kind, rest) = line.split_once(" outlive::")?;
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
        let name = name.trim_end_matches(':');
        let kinds = ["enum", "fn", "mod", "struct", "trait"];
        (kinds.contains(&kind) && !name.contains("::")).then(|| name.to_owned())
    };
    let names: Vec<_> = listed.lines().filter_map(name).collect();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = PROGRAM.map(|file| {
        let name = file.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        format!("#[path = {:?}]\nmod {name};\n", source.join(file))
    });
    let program = format!(
        "#![allow(unused, missing_docs)]\npub use outlive::{{{}}};\n{}fn main() -> std::process::ExitCode {{ cli::main() }}\n",
        names.join(", "),
        modules.concat(),
    );
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("program.rs"), program).unwrap();
    Example::build("axum").check(&folder.path().join("program.rs"));
}
