//! The examples that packages install.

use std::fs;
use std::path::PathBuf;

use outlive::config::from_str;

use crate::committed::packaged;

const EXAMPLES: &str = "usr/share/doc/outlive/examples";

#[test]
fn every_configuration_can_be_served() {
    let www = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for file in files() {
        if file.extension().is_some_and(|extension| extension == "toml") {
            // A folder that every machine has.
            let text = fs::read_to_string(&file).unwrap().replace("/srv/www", www.path().to_str().unwrap());
            let config = from_str(&text, &file.display().to_string()).unwrap_or_else(|error| panic!("{error}"));
            assert!(config.warnings.is_empty(), "{:?}", config.warnings);
            checked += 1;
        }
    }
    assert!(checked > 1, "{checked} examples");
}

fn files() -> Vec<PathBuf> {
    fs::read_dir(packaged(EXAMPLES)).unwrap().map(|entry| entry.unwrap().path()).collect()
}
