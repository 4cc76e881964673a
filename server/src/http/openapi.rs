//! `/openapi.json`: the description of all of this for programs. A test holds it against the routes.

use axum::http::header;
use axum::response::IntoResponse;

use super::routes::Routes;

/// The document.
pub const DOCUMENT: &str = include_str!("openapi.json");

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default().get("/openapi.json", document)
}

async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn the_document_names_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(super::DOCUMENT).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters" && *key != "summary");
                methods.map(|method| (method.clone(), path.clone())).collect::<Vec<_>>()
            })
            .collect();
        let routes: BTreeSet<(String, String)> =
            super::super::routes().table().iter().map(|(method, path)| ((*method).into(), (*path).into())).collect();
        assert_eq!(described, routes);
    }
}
