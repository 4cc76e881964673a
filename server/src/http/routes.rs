//! The table of routes: what is registered here is what the router answers and what the OpenAPI document has to name.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, head, post};

use super::Context;

/// Routes of one or several groups.
#[derive(Default)]
pub struct Routes {
    router: Router<Context>,
    /// Method and path of each.
    table: Vec<(&'static str, &'static str)>,
}

impl Routes {
    /// A route that reads. HEAD is answered too.
    pub fn get<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Context>,
        T: 'static,
    {
        self.add("get", path, get(handler))
    }

    /// A route of which only the headers count.
    pub fn head<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Context>,
        T: 'static,
    {
        self.add("head", path, head(handler))
    }

    /// A route that does something.
    pub fn post<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Context>,
        T: 'static,
    {
        self.add("post", path, post(handler))
    }

    /// A route that removes something.
    pub fn delete<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Context>,
        T: 'static,
    {
        self.add("delete", path, delete(handler))
    }

    /// The routes of both.
    pub fn and(mut self, other: Self) -> Self {
        self.table.extend(other.table);
        Self { router: self.router.merge(other.router), table: self.table }
    }

    /// What answers them.
    pub fn into_router(self) -> Router<Context> {
        self.router
    }

    /// Method, in lower case, and path of each.
    #[cfg(test)]
    pub fn table(&self) -> &[(&'static str, &'static str)] {
        &self.table
    }

    fn add(mut self, method: &'static str, path: &'static str, answer: MethodRouter<Context>) -> Self {
        self.table.push((method, path));
        Self { router: self.router.route(path, answer), table: self.table }
    }
}
