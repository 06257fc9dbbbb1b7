//! Every path of the Docker Engine API: what answers it, or what is missing for it.

use crate::ApiVersion;
use crate::version::MAX;
use std::fmt;

mod operations;
mod table;

pub use operations::{
    ConfigOp, ContainerOp, ExecOp, ImageOp, NetworkOp, NodeOp, Operation, SecretOp, ServiceOp, SwarmOp,
    SystemOp, VolumeOp,
};
pub use table::ROUTES;

/// HTTP methods that the API uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        })
    }
}

impl std::str::FromStr for Method {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            _ => return Err(()),
        })
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path: `{id}` stands for one segment, `{name..}` for one or more.
    pub path: &'static str,
    /// The version that brought it.
    pub since: ApiVersion,
    /// What answers.
    pub answer: Answer,
}

/// What answers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An operation.
    Operation(Operation),
    /// Nothing yet; the text says what Shoal lacks.
    Unbuilt(&'static str),
}

/// A row that fits a request, with the values of its placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The row.
    pub route: &'static Route,
    /// Name and value of the placeholder, if the path has one.
    pub parameters: Vec<(&'static str, String)>,
}

/// The row that fits. `path` is decoded and has no version. A wrong method is no fit, as in Docker.
pub fn find(method: Method, path: &str, version: ApiVersion) -> Option<Found> {
    ROUTES.iter().filter(|route| route.method == method && route.since <= version.min(MAX)).find_map(
        |route| {
            let parameters = match_path(route.path, path)?;
            Some(Found { route, parameters })
        },
    )
}

fn match_path(pattern: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
    let wanted: Vec<&'static str> = pattern.split('/').collect();
    let given: Vec<&str> = path.split('/').collect();
    let greedy = wanted.iter().position(|segment| segment.ends_with("..}"));
    let extra = given.len().checked_sub(wanted.len())?;
    if extra > 0 && greedy.is_none() {
        return None;
    }
    let mut parameters = Vec::new();
    let mut at = 0;
    for (index, segment) in wanted.iter().enumerate() {
        let width = if Some(index) == greedy { 1 + extra } else { 1 };
        let text = given.get(at..at + width)?.join("/");
        at += width;
        match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            Some(_) if text.is_empty() => return None,
            Some(name) => parameters.push((name.trim_end_matches('.'), text)),
            None if *segment == text => {}
            None => return None,
        }
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn operation(method: Method, path: &str) -> Option<(Operation, Vec<(&'static str, String)>)> {
        let found = find(method, path, MAX)?;
        match found.route.answer {
            Answer::Operation(op) => Some((op, found.parameters)),
            Answer::Unbuilt(_) => None,
        }
    }

    #[test]
    fn paths_find_their_operations() {
        let (op, params) = operation(Method::Get, "/services/web").unwrap();
        assert_eq!(op, Operation::Service(ServiceOp::Inspect));
        assert_eq!(params, [("id", "web".to_owned())]);
        let (op, _) = operation(Method::Post, "/services/create").unwrap();
        assert_eq!(op, Operation::Service(ServiceOp::Create));
        assert_eq!(operation(Method::Head, "/_ping").unwrap().0, Operation::System(SystemOp::Ping));
    }

    #[test]
    fn names_of_images_may_hold_slashes() {
        let (op, params) = operation(Method::Get, "/images/localhost:5000/a/b:1/json").unwrap();
        assert_eq!(op, Operation::Image(ImageOp::Inspect));
        assert_eq!(params, [("name", "localhost:5000/a/b:1".to_owned())]);
        assert_eq!(operation(Method::Get, "/images/json").unwrap().0, Operation::Image(ImageOp::List));
        assert_eq!(operation(Method::Get, "/images/get").unwrap().0, Operation::Image(ImageOp::SaveMany));
        assert_eq!(operation(Method::Delete, "/images/a/b").unwrap().0, Operation::Image(ImageOp::Remove));
    }

    #[test]
    fn wrong_methods_and_unknown_paths_find_nothing() {
        for (method, path) in [
            (Method::Delete, "/info"),
            (Method::Get, "/services/"),
            (Method::Get, "/services/a/b"),
            (Method::Get, "/"),
            (Method::Get, ""),
            (Method::Get, "/nonsense"),
        ] {
            assert_eq!(find(method, path, MAX), None, "{method} {path}");
        }
    }

    #[test]
    fn rows_are_unknown_before_their_version() {
        assert!(find(Method::Get, "/configs", ApiVersion::minor(30)).is_some());
        assert!(find(Method::Get, "/configs", ApiVersion::minor(29)).is_none());
    }

    #[test]
    fn no_row_hides_another() {
        for (index, route) in ROUTES.iter().enumerate() {
            let concrete = route.path.replace("{name..}", "x/y").replace(['{', '}'], "");
            let found = find(route.method, &concrete, MAX).unwrap();
            assert!(
                std::ptr::eq(found.route, &raw const ROUTES[index]),
                "{} {} is hidden",
                route.method,
                route.path
            );
        }
    }

    #[test]
    fn every_operation_has_a_row() {
        let routed: HashSet<Operation> = ROUTES
            .iter()
            .filter_map(|route| match route.answer {
                Answer::Operation(op) => Some(op),
                Answer::Unbuilt(_) => None,
            })
            .collect();
        for op in Operation::all() {
            assert!(routed.contains(&op), "{op:?} has no row");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for route in ROUTES {
            if let Answer::Unbuilt(missing) = route.answer {
                assert!(missing.len() > 8, "{} {}", route.method, route.path);
            }
        }
    }
}
