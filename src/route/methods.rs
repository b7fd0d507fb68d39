//! Which methods a route answers.

use http::{HeaderValue, Method};

/// The methods of a route. GET includes HEAD (RFC 9110, section 9.3.2: the same answer without its body).
#[derive(Clone, Debug)]
pub(super) enum Methods {
    /// Whatever is asked.
    Any,
    /// These.
    Only(Vec<Method>),
}

impl Methods {
    /// These methods, and HEAD if GET is among them.
    pub(super) fn only(methods: &[Method]) -> Self {
        let mut only: Vec<Method> = Vec::with_capacity(methods.len() + 1);
        for method in methods {
            if !only.contains(method) {
                only.push(method.clone());
            }
        }
        if only.contains(&Method::GET) && !only.contains(&Method::HEAD) {
            only.push(Method::HEAD);
        }
        Self::Only(only)
    }

    pub(super) fn contains(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Only(methods) => methods.contains(method),
        }
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Only(methods), other) => methods.iter().any(|method| other.contains(method)),
        }
    }
}

/// The value of an `Allow` field: all methods of these routes, and OPTIONS, which the router answers for them.
///
/// `None` where one of them answers any method: nothing is refused then.
pub(super) fn allow<'a>(routes: impl Iterator<Item = &'a Methods>) -> Option<HeaderValue> {
    let mut names: Vec<&str> = Vec::new();
    for methods in routes {
        let Methods::Only(methods) = methods else { return None };
        for method in methods {
            if !names.contains(&method.as_str()) {
                names.push(method.as_str());
            }
        }
    }
    if !names.contains(&"OPTIONS") {
        names.push("OPTIONS");
    }
    // A method's name is an RFC 9110 token: always a valid field value.
    HeaderValue::from_str(&names.join(", ")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_includes_head() {
        assert!(Methods::only(&[Method::GET]).contains(&Method::HEAD));
        assert!(!Methods::only(&[Method::POST]).contains(&Method::HEAD));
    }

    #[test]
    fn allow_names_each_method_once_and_options() {
        let routes = [Methods::only(&[Method::GET, Method::GET]), Methods::only(&[Method::HEAD, Method::POST])];
        assert_eq!(allow(routes.iter()).unwrap(), "GET, HEAD, POST, OPTIONS");
        assert_eq!(allow([Methods::only(&[Method::OPTIONS])].iter()).unwrap(), "OPTIONS");
        assert_eq!(allow([Methods::only(&[Method::GET]), Methods::Any].iter()), None);
    }

    #[test]
    fn overlap() {
        let get = Methods::only(&[Method::GET]);
        assert!(get.overlaps(&Methods::only(&[Method::HEAD])));
        assert!(get.overlaps(&Methods::Any) && Methods::Any.overlaps(&get));
        assert!(!get.overlaps(&Methods::only(&[Method::POST])));
    }
}
