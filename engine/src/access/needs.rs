//! What a statement needs to be allowed.

use catalog::Privilege;
use datafusion::sql::sqlparser::ast;

use crate::error::Position;
use crate::sql::context::relations;
use crate::sql::statement::{
    AccessStatement, Assignment, Change, ConflictAction, CursorControl, DropKind, GrantOn, Insert, InsertMode, Merge,
    MergeAction, RowSource, Statement,
};

/// One thing that a statement needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A privilege on the object of this name.
    Privilege(Privilege, String, Option<Position>),
    /// To replace rows of this table, if it has a key.
    Replacing(String),
    /// To create objects or jobs.
    Create,
    /// To own the object of this name.
    Own(String),
    /// To own the job of this name.
    OwnJob(String),
    /// To be a superuser, for this.
    Superuser(&'static str),
    /// To be this user.
    BeUser(String),
}

/// Connectors whose tables are made of nothing but their options.
const HARMLESS_CONNECTORS: [&str; 4] = ["datagen", "nexmark", "print", "blackhole"];

pub(super) fn of(statement: &Statement) -> Vec<Need> {
    let mut needs = Vec::new();
    statement_needs(statement, &mut needs);
    needs
}

fn statement_needs(statement: &Statement, needs: &mut Vec<Need>) {
    match statement {
        Statement::CreateTable(table) => {
            needs.push(Need::Create);
            if table.or_replace {
                needs.push(Need::Own(table.name.clone()));
            }
            // They reach what the process reaches, whoever asks for it.
            if table.options.get("connector").is_some_and(|name| !HARMLESS_CONNECTORS.contains(&name.as_str())) {
                needs.push(Need::Superuser("create tables over files and services that the server can reach"));
            }
            if let Some(late) = table.options.get("late.table") {
                needs.push(Need::Privilege(Privilege::Insert, late.clone(), None));
            }
            if let Some(query) = &table.query {
                reads(&query.query, needs);
            }
        }
        Statement::CreateView(view) => {
            needs.push(Need::Create);
            if view.or_replace {
                needs.push(Need::Own(view.name.clone()));
            }
            reads(&view.query, needs);
        }
        Statement::CreateFunction(function) => {
            needs.push(Need::Create);
            if function.or_replace {
                needs.push(Need::Own(crate::sql::inline::object_name(&function.name)));
            }
            reads(&function.body, needs);
        }
        Statement::Drop(drop) => needs.extend(drop.names.iter().map(|name| match drop.kind {
            DropKind::Job => Need::OwnJob(name.clone()),
            DropKind::Function => Need::Own(crate::sql::inline::object_name(name)),
            _ => Need::Own(name.clone()),
        })),
        Statement::Insert(insert) => inserts(insert, needs),
        Statement::Change(change) | Statement::ExplainChange(change) => changes(change, needs),
        Statement::StatementSet(set) => {
            needs.push(Need::Create);
            set.iter().for_each(|insert| inserts(insert, needs));
        }
        Statement::Query(query) | Statement::Explain { query, .. } => reads(query, needs),
        Statement::Verify(name) => needs.push(Need::Privilege(Privilege::Select, name.clone(), None)),
        Statement::CopyFrom(copy) => inserts(&copy.insert, needs),
        Statement::CopyTo(copy) => rows(&copy.rows, needs),
        Statement::Cursor(CursorControl::Declare { rows: source, .. }) => rows(source, needs),
        Statement::Subscribe(subscribe) => rows(&RowSource::Subscribe(subscribe.clone()), needs),
        Statement::Job(_, name) => needs.push(Need::OwnJob(name.clone())),
        Statement::Access(access) => access_needs(access, needs),
        Statement::Show(_)
        | Statement::Describe(_)
        | Statement::Set { .. }
        | Statement::Reset(_)
        | Statement::Cursor(_)
        | Statement::Deallocate(_)
        | Statement::Discard
        | Statement::Unlisten
        | Statement::Flush
        | Statement::Transaction(_) => {}
    }
}

fn reads(part: &impl ast::Visit, needs: &mut Vec<Need>) {
    let names = relations(part).into_iter();
    needs.extend(names.map(|(name, position)| Need::Privilege(Privilege::Select, name, position)));
}

fn rows(source: &RowSource, needs: &mut Vec<Need>) {
    match source {
        RowSource::Query(query) => reads(query.as_ref(), needs),
        RowSource::Subscribe(subscribe) => {
            needs.push(Need::Privilege(Privilege::Select, subscribe.relation.clone(), subscribe.position));
        }
    }
}

fn inserts(insert: &Insert, needs: &mut Vec<Need>) {
    let table = || insert.table.clone();
    needs.push(Need::Privilege(Privilege::Insert, table(), None));
    reads(&insert.query, needs);
    match &insert.mode {
        InsertMode::Upsert => needs.push(Need::Replacing(table())),
        InsertMode::Overwrite => needs.push(Need::Privilege(Privilege::Delete, table(), None)),
        InsertMode::OnConflict(conflict) => {
            if let ConflictAction::Update { assignments, condition } = &conflict.action {
                needs.push(Need::Privilege(Privilege::Update, table(), None));
                assigns(assignments, needs);
                condition.iter().for_each(|condition| reads(condition.as_ref(), needs));
            }
        }
    }
}

fn assigns(assignments: &[Assignment], needs: &mut Vec<Need>) {
    assignments.iter().filter_map(|assignment| assignment.value.as_ref()).for_each(|value| reads(value, needs));
}

/// Whoever changes rows chooses them by what they hold.
fn changes(change: &Change, needs: &mut Vec<Need>) {
    match change {
        Change::Update(update) => {
            let target = &update.target;
            for privilege in [Privilege::Update, Privilege::Select] {
                needs.push(Need::Privilege(privilege, target.table.clone(), target.position));
            }
            assigns(&update.assignments, needs);
            update.from.iter().for_each(|from| reads(from, needs));
            update.condition.iter().for_each(|condition| reads(condition, needs));
        }
        Change::Delete(delete) => {
            let target = &delete.target;
            for privilege in [Privilege::Delete, Privilege::Select] {
                needs.push(Need::Privilege(privilege, target.table.clone(), target.position));
            }
            delete.using.iter().for_each(|using| reads(using, needs));
            delete.condition.iter().for_each(|condition| reads(condition, needs));
        }
        Change::Merge(merge) => merges(merge, needs),
        Change::Truncate(tables) => {
            needs.extend(tables.iter().map(|table| Need::Privilege(Privilege::Truncate, table.clone(), None)));
        }
    }
}

fn merges(merge: &Merge, needs: &mut Vec<Need>) {
    let target = &merge.target;
    let mut on_target = |privilege| needs.push(Need::Privilege(privilege, target.table.clone(), target.position));
    on_target(Privilege::Select);
    for clause in &merge.clauses {
        match &clause.action {
            MergeAction::Update(_) => on_target(Privilege::Update),
            MergeAction::Delete => on_target(Privilege::Delete),
            MergeAction::Insert(_) => on_target(Privilege::Insert),
            MergeAction::Nothing => {}
        }
    }
    reads(&merge.source, needs);
    reads(&merge.on, needs);
    for clause in &merge.clauses {
        clause.condition.iter().for_each(|condition| reads(condition, needs));
        if let MergeAction::Update(assignments) | MergeAction::Insert(assignments) = &clause.action {
            assigns(assignments, needs);
        }
    }
}

fn access_needs(statement: &AccessStatement, needs: &mut Vec<Need>) {
    match statement {
        // Everybody may change their own password.
        AccessStatement::PutUser(user) if !user.create && user.superuser.is_none() => match &user.password {
            Some(Some(_)) => needs.push(Need::BeUser(user.name.clone())),
            _ => needs.push(Need::Superuser("change users")),
        },
        AccessStatement::PutUser(_) => needs.push(Need::Superuser("create and change users")),
        AccessStatement::DropUsers { .. } => needs.push(Need::Superuser("drop users")),
        AccessStatement::SetOwner { .. } | AccessStatement::Reassign { .. } => {
            needs.push(Need::Superuser("change owners"));
        }
        AccessStatement::Grant(grant) => match &grant.on {
            GrantOn::Objects(objects) => needs.extend(objects.iter().map(|(name, _)| Need::Own(name.clone()))),
            GrantOn::All => needs.push(Need::Superuser("grant on all tables")),
            GrantOn::Namespace => needs.push(Need::Superuser("grant CREATE")),
        },
    }
}
