//! CREATE FUNCTION.

use std::collections::BTreeMap;

use arrow::datatypes::{Field, Schema};
use catalog::{Object, ObjectKind};
use storage::types::columns;

use super::{Draft, New, distinct_ids};
use crate::error::{Error, Result};
use crate::session::Inner;
use crate::sql::context::Mode;
use crate::sql::inline::object_name;
use crate::sql::statement::{CreateFunction, ParsedStatement};
use crate::sql::types::{arrow_type, sql_name};

/// What the parser replaces before anybody looks for a function of that name.
const TAKEN: [&str; 5] = ["mod", "tumble", "hop", "cumulate", "session"];

impl Draft {
    /// `CREATE FUNCTION`.
    pub async fn create_function(
        &mut self,
        inner: &Inner,
        parsed: &ParsedStatement,
        function: &CreateFunction,
    ) -> Result<()> {
        let at = Some(parsed.position);
        let name = object_name(&function.name);
        let new = New {
            name: &name,
            kind: "FUNCTION",
            text: &parsed.text,
            if_not_exists: function.if_not_exists,
            or_replace: function.or_replace,
            position: parsed.position,
        };
        if self.exists(&new)? {
            return Ok(());
        }
        let planner = self.planner(inner);
        let state = planner.state(Mode::Batch)?;
        let built_in = state.scalar_functions().contains_key(&function.name)
            || state.aggregate_functions().contains_key(&function.name)
            || state.window_functions().contains_key(&function.name)
            || TAKEN.contains(&function.name.as_str());
        if built_in {
            return Err(Error::sql(format!("{} is a function of the engine", function.name))
                .at(at)
                .hint("choose another name"));
        }
        let body = function.body.to_string();
        if crate::sql::inline::calls(&format!("SELECT {body}"), &function.name) {
            return Err(Error::sql(format!("{} calls itself: recursion is not supported", function.name)).at(at));
        }
        let fields = function.parameters.iter().map(|(name, sql)| Ok(Field::new(name, arrow_type(sql)?, true)));
        let parameters = Schema::new(fields.collect::<Result<Vec<_>>>()?);
        let gives = planner.expression_type(&state, &body, &parameters).map_err(|error| error.at(at))?;
        let returns = arrow_type(&function.returns)?;
        if !arrow::compute::can_cast_types(&gives, &returns) {
            return Err(Error::sql(format!(
                "{} RETURNS {}, but its body gives {}",
                function.name,
                sql_name(&returns),
                sql_name(&gives)
            ))
            .at(at));
        }
        let called = planner.inline(&mut function.body.clone())?;
        let object = Object {
            id: inner.warehouse.catalog().allocate_ids(1).await?,
            name,
            kind: ObjectKind::Function,
            sql: parsed.text.clone(),
            columns: columns(&parameters)?,
            key: vec![],
            insert_only: false,
            properties: BTreeMap::new(),
            depends_on: distinct_ids(called.iter()),
        };
        self.add_object(object);
        Ok(())
    }
}
