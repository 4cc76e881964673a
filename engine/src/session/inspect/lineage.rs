//! Lineage: what is computed from what, as a graph in layers.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{JobKind, JobStatus, ObjectKind, Snapshot};

use super::{job_kind_name, object_kind_name};
use crate::error::Result;
use crate::session::Engine;

/// Tables, views and INSERT jobs, and what flows between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The nodes, by layer and name.
    pub nodes: Vec<LineageNode>,
    /// The edges.
    pub edges: Vec<LineageEdge>,
}

/// A table, a view or an INSERT job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineageNode {
    /// Its name; that of an INSERT job begins with `job ` if a table or view has the same.
    pub name: String,
    /// As SHOW TABLES, SHOW VIEWS and SHOW JOBS call it.
    pub kind: String,
    /// The status of the job that keeps or is it.
    pub status: Option<JobStatus>,
    /// The length of the longest way to it.
    pub layer: usize,
}

/// One node is computed from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineageEdge {
    /// What is read.
    pub from: String,
    /// What it becomes.
    pub to: String,
}

impl Engine {
    /// What is computed from what.
    pub async fn lineage(&self) -> Result<Lineage> {
        Ok(lineage(&*self.inner.snapshot().await?))
    }
}

fn lineage(snapshot: &Snapshot) -> Lineage {
    let mut nodes = BTreeMap::new();
    let mut edges = BTreeSet::new();
    let object = |id| snapshot.objects.get(id).filter(|object| object.kind != ObjectKind::Function);
    for (id, this) in snapshot.objects.iter().filter(|(_, object)| object.kind != ObjectKind::Function) {
        let status = snapshot.jobs.get(id).map(|job| job.status);
        nodes.insert(this.name.clone(), (object_kind_name(this), status));
        for other in this.depends_on.iter().filter_map(object) {
            edges.insert(match this.kind {
                // It names the table where its late rows go.
                ObjectKind::Connector => (this.name.clone(), other.name.clone()),
                _ => (other.name.clone(), this.name.clone()),
            });
        }
    }
    for job in snapshot.jobs.values().filter(|job| job.kind != JobKind::MaterializedView) {
        let name = match snapshot.object(&job.name) {
            Some(_) => format!("job {}", job.name),
            None => job.name.clone(),
        };
        edges.extend(job.inputs.iter().filter_map(object).map(|read| (read.name.clone(), name.clone())));
        edges.extend(job.targets.iter().filter_map(object).map(|written| (name.clone(), written.name.clone())));
        nodes.insert(name, (job_kind_name(job.kind).to_owned(), Some(job.status)));
    }
    let layers = layers(nodes.keys(), &edges);
    let layer = |name: &str| layers.get(name).copied().unwrap_or(0);
    let node = |(name, (kind, status)): (&String, &(String, Option<JobStatus>))| LineageNode {
        name: name.clone(),
        kind: kind.clone(),
        status: *status,
        layer: layer(name),
    };
    let mut nodes: Vec<_> = nodes.iter().map(node).collect();
    nodes.sort_by(|a, b| (a.layer, &a.name).cmp(&(b.layer, &b.name)));
    Lineage { nodes, edges: edges.into_iter().map(|(from, to)| LineageEdge { from, to }).collect() }
}

/// The length of the longest way to every node. Where INSERT jobs make circles the edge that closes one does not count.
fn layers<'a>(
    nodes: impl Iterator<Item = &'a String>,
    edges: &'a BTreeSet<(String, String)>,
) -> BTreeMap<&'a str, usize> {
    let mut inputs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in edges {
        inputs.entry(to).or_default().push(from);
    }
    let mut layers = BTreeMap::new();
    for node in nodes {
        if layers.contains_key(node.as_str()) {
            continue;
        }
        // Depth first without recursion, which a long chain of views would make deep. A node is on the path from when
        // it is first met until all of its inputs are done.
        let mut path: Vec<&str> = vec![node];
        let mut open: BTreeSet<&str> = BTreeSet::from([node.as_str()]);
        while let Some(top) = path.last().copied() {
            let reads = inputs.get(top).map_or(&[][..], Vec::as_slice);
            let next = reads.iter().copied().find(|read| !layers.contains_key(read) && !open.contains(read));
            match next {
                Some(read) => {
                    open.insert(read);
                    path.push(read);
                }
                None => {
                    let deepest = reads.iter().filter_map(|read| layers.get(read)).max();
                    layers.insert(top, deepest.map_or(0, |layer| layer + 1));
                    open.remove(top);
                    path.pop();
                }
            }
        }
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers_of(nodes: &[&str], edges: &[(&str, &str)]) -> Vec<usize> {
        let names: Vec<String> = nodes.iter().map(|name| (*name).to_owned()).collect();
        let edges = edges.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let found = layers(names.iter(), &edges);
        nodes.iter().map(|name| found[name]).collect()
    }

    #[test]
    fn a_node_is_behind_all_that_it_reads() {
        let edges = [("a", "b"), ("b", "d"), ("a", "d"), ("c", "d")];
        assert_eq!(layers_of(&["a", "b", "c", "d"], &edges), [0, 1, 0, 2]);
    }

    #[test]
    fn circles_end() {
        assert_eq!(layers_of(&["a"], &[("a", "a")]), [0]);
        let found = layers_of(&["a", "b", "c"], &[("a", "b"), ("b", "c"), ("c", "a")]);
        assert_eq!(found.iter().sum::<usize>(), 3, "{found:?}");
    }
}
