//! What is known of a statement before it runs: the types of its parameters (`$1`) and the columns of its result.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;

use crate::error::Result;
use crate::session::settings::Settings;
use crate::session::{Answer, Engine, Inner};
use crate::sql::context::Mode;
use crate::sql::parse::{parameter, parameter_number};
use crate::sql::statement::{Change, Insert, ParsedStatement, Statement};
use crate::sql::table::physical_schema;

/// What a statement takes and gives.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// Types of the parameters by number, from 1, as far as they follow from where the parameters stand.
    pub parameters: BTreeMap<usize, DataType>,
    /// Columns of the result, if rows come.
    pub columns: Option<SchemaRef>,
}

impl Engine {
    /// Describes a statement without executing it.
    pub async fn describe(&self, parsed: &ParsedStatement) -> Result<Description> {
        let at = Some(parsed.position);
        self.inner.permit(&parsed.statement, &self.settings).await.map_err(|error| error.at(at))?;
        self.inner.description(parsed, &self.settings).await.map_err(|error| error.at(at))
    }
}

impl Inner {
    async fn description(&self, parsed: &ParsedStatement, settings: &Settings) -> Result<Description> {
        let planner = self.planner(self.snapshot().await?);
        Ok(match &parsed.statement {
            Statement::Query(query) => {
                let logical = planner.query(query, Mode::Batch).await?.logical;
                let columns = Some(Arc::new(logical.schema().as_arrow().clone()));
                Description { parameters: parameters(&logical)?, columns }
            }
            Statement::Insert(insert) => {
                let mut known = self.values(insert).await?;
                if known.is_empty() {
                    known = parameters(&planner.query(&insert.query, Mode::Batch).await?.logical)?;
                }
                Description { parameters: known, columns: None }
            }
            Statement::Change(change) if matches!(change.as_ref(), Change::Truncate(_)) => Description::default(),
            Statement::Change(change) => {
                Description { parameters: parameters(&self.change_query(change).await?)?, columns: None }
            }
            // What they answer is small and changes nothing.
            Statement::Show(_) | Statement::Describe(_) | Statement::Explain { .. } | Statement::ExplainChange(_) => {
                match self.execute(parsed, settings).await? {
                    Answer::Rows(rows) => Description { columns: Some(rows.schema()), ..Description::default() },
                    _ => Description::default(),
                }
            }
            Statement::Subscribe(subscribe) => {
                Description { columns: Some(self.subscription_columns(subscribe).await?), ..Description::default() }
            }
            Statement::Verify(_) => Description { columns: Some(super::verify::columns()), ..Description::default() },
            _ => Description::default(),
        })
    }

    /// The parameters among the values of `INSERT INTO t VALUES ($1, ...)`: they have the types of the table's columns.
    async fn values(&self, insert: &Insert) -> Result<BTreeMap<usize, DataType>> {
        let mut known = BTreeMap::new();
        let ast::SetExpr::Values(values) = insert.query.body.as_ref() else { return Ok(known) };
        let planner = self.planner(self.snapshot().await?);
        let schema = physical_schema(planner.object(&insert.table, None)?.as_ref())?;
        for row in &values.rows {
            for (place, value) in row.iter().enumerate() {
                let field = match insert.columns.get(place) {
                    Some(name) => schema.field_with_name(name).ok(),
                    None => schema.fields().get(place).map(AsRef::as_ref),
                };
                if let (Some(number), Some(field)) = (parameter(value), field) {
                    known.insert(number, field.data_type().clone());
                }
            }
        }
        Ok(known)
    }
}

/// The parameters of a plan whose types DataFusion has found.
fn parameters(plan: &LogicalPlan) -> Result<BTreeMap<usize, DataType>> {
    let found = plan.get_parameter_types()?;
    Ok(found.into_iter().filter_map(|(name, data_type)| Some((parameter_number(&name)?, data_type?))).collect())
}
