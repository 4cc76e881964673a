//! `/` and `/assets/*`: the page for people, compiled into the program.
//!
//! The files in `page/` are served as they are written; nothing is built, nothing comes from other hosts. The policy sent along forbids
//! inline scripts and styles and everything from elsewhere, and lets no script make markup of text.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Context;
use super::error::Failed;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const INDEX: Asset = Asset { name: "index.html", content_type: HTML, text: include_str!("page/index.html") };

/// A file of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

/// The assets of these types, each compiled in under its name.
macro_rules! assets {
    ($($content_type:ident: $($name:literal)*;)*) => {
        &[$($(Asset { name: $name, content_type: $content_type, text: include_str!(concat!("page/", $name)) },)*)*]
    };
}

/// Everything under `/assets/`.
const ASSETS: &[Asset] = assets! {
    CSS: "style.css" "views.css";
    SVG: "icon.svg";
    SCRIPT: "api.js" "charts.js" "dataflow.js" "dialogs.js" "dom.js" "editor.js" "format.js" "graph.js" "jobs.js" "layout.js"
        "lineage.js" "live.js" "main.js" "overview.js" "parts.js" "result.js" "series.js" "sql.js" "sqllayout.js" "sqltext.js" "tables.js" "theme.js";
};

/// The routes of this module.
pub fn routes() -> Router<Context> {
    Router::new().route("/", get(index)).route("/assets/{name}", get(asset))
}

async fn index(headers: HeaderMap) -> Response {
    INDEX.answer(&headers)
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => asset.answer(&headers),
        None => Failed::not_found(format!("the page has no file {name}")).into_response(),
    }
}

impl Asset {
    /// The file, or that the browser has it already. Browsers ask each time, so that a page never runs with another version's modules.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = self.tag();
        let known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let about = [(ETAG, tag.as_str()), (CACHE_CONTROL, "no-cache")];
        if known.is_some_and(|tags| tags.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        let safety = [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ];
        ([(CONTENT_TYPE, self.content_type)], about, safety, self.text).into_response()
    }

    /// Differs when the text differs.
    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served_under_its_name() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/page");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut served: Vec<String> = ASSETS.iter().chain([&INDEX]).map(|asset| asset.name.to_string()).collect();
        files.sort();
        served.sort();
        assert_eq!(files, served);
    }

    #[test]
    fn nothing_is_sent_twice() {
        let mut headers = HeaderMap::new();
        assert_eq!(INDEX.answer(&headers).status(), StatusCode::OK);
        headers.insert(IF_NONE_MATCH, INDEX.tag().parse().unwrap());
        assert_eq!(INDEX.answer(&headers).status(), StatusCode::NOT_MODIFIED);
        headers.insert(IF_NONE_MATCH, ASSETS[0].tag().parse().unwrap());
        assert_eq!(INDEX.answer(&headers).status(), StatusCode::OK);
    }

    #[test]
    fn scripts_make_no_markup_of_text() {
        for asset in ASSETS.iter().filter(|asset| asset.content_type == SCRIPT) {
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"]
            {
                let text = asset.text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(forbidden), "{} in {}", forbidden, asset.name);
            }
        }
    }
}
