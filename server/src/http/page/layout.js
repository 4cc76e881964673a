// Where the nodes of a directed graph stand. Layers by the longest path from a source, the order within a layer by barycentres, positions as near to the
// neighbours as the order allows. Pure: numbers in, numbers out. "Along" is the direction of the edges, "across" the other one.

const SWEEPS = 12;

/**
 * `nodes`: `[{id, along, across}]` with their sizes; `edges`: `[{from, to}]`. Gives the parts that do not hang together, the largest first, each with its
 * nodes' positions by id (`{along, across}` of their corner nearest to the origin), the points of every edge from border to border, and its size.
 */
export function layout(nodes, edges, { layerGap = 56, nodeGap = 20 } = {}) {
  const ids = new Set(nodes.map((node) => node.id));
  const known = edges.filter((edge) => ids.has(edge.from) && ids.has(edge.to) && edge.from !== edge.to);
  return components(nodes, known).map((part) => laidOut(part, layerGap, nodeGap));
}

/** What hangs together, the largest first. */
function components(nodes, edges) {
  const neighbours = groupBy([...edges, ...edges.map(({ from, to }) => ({ from: to, to: from }))], (edge) => edge.from, (edge) => edge.to);
  const partOf = new Map();
  for (const node of nodes) {
    const queue = partOf.has(node.id) ? [] : [node.id];
    while (queue.length) {
      const id = queue.pop();
      if (partOf.has(id)) continue;
      partOf.set(id, node.id);
      queue.push(...(neighbours.get(id) ?? []));
    }
  }
  const edgesOf = groupBy(edges, (edge) => partOf.get(edge.from));
  return [...groupBy(nodes, (node) => partOf.get(node.id))]
    .map(([id, members]) => ({ nodes: members, edges: edgesOf.get(id) ?? [] }))
    .sort((a, b) => b.nodes.length - a.nodes.length);
}

function laidOut({ nodes, edges }, layerGap, nodeGap) {
  const forward = withoutCycles(nodes, edges);
  const layerOf = layersOf(nodes, forward);
  const { layers, chains, links } = layered(nodes, forward, layerOf);
  order(layers, links);
  place(layers, links, nodeGap);
  return measured(layers, chains, layerGap);
}

/** Edges of a cycle that lead back are turned around. */
function withoutCycles(nodes, edges) {
  const out = groupBy(edges, (edge) => edge.from);
  const state = new Map();
  const turned = new Set();
  const visit = (id) => {
    state.set(id, "open");
    for (const edge of out.get(id) ?? []) {
      if (state.get(edge.to) === "open") turned.add(edge);
      else if (!state.has(edge.to)) visit(edge.to);
    }
    state.set(id, "done");
  };
  for (const node of nodes) if (!state.has(node.id)) visit(node.id);
  return edges.map((edge) => (turned.has(edge) ? { edge, from: edge.to, to: edge.from } : { edge, from: edge.from, to: edge.to }));
}

/** The longest path to each node; then sources move up to what reads them, so that their edges are short. */
function layersOf(nodes, edges) {
  const into = groupBy(edges, (edge) => edge.to);
  const out = groupBy(edges, (edge) => edge.from);
  const layers = new Map();
  const layerOf = (id) => {
    if (!layers.has(id)) layers.set(id, Math.max(-1, ...(into.get(id) ?? []).map((edge) => layerOf(edge.from))) + 1);
    return layers.get(id);
  };
  for (const node of nodes) layerOf(node.id);
  for (const node of nodes) {
    if (!into.has(node.id) && out.has(node.id)) layers.set(node.id, Math.min(...out.get(node.id).map((edge) => layers.get(edge.to))) - 1);
  }
  return layers;
}

/** The layers as lists of cells. An edge over several layers becomes a chain of cells without width, so that it finds a way between the nodes. */
function layered(nodes, edges, layerOf) {
  const layers = [];
  const cells = new Map();
  const put = (layer, cell) => {
    (layers[layer] ??= []).push(cell);
    return cell;
  };
  for (const node of nodes) {
    cells.set(node.id, put(layerOf.get(node.id), { node, along: node.along, across: node.across, weight: 1, position: 0 }));
  }
  // What is made of something yields less than a source, so that the long way through the graph is straight; the ways of long edges yield least.
  for (const edge of edges) cells.get(edge.to).weight = 4;
  for (let i = 0; i < layers.length; i++) layers[i] ??= [];
  const links = [];
  const chains = edges.map(({ edge, from, to }) => {
    const chain = [cells.get(from)];
    for (let layer = layerOf.get(from) + 1; layer < layerOf.get(to); layer++) {
      chain.push(put(layer, { node: null, along: 0, across: 0, weight: 8, position: 0 }));
    }
    chain.push(cells.get(to));
    for (let i = 1; i < chain.length; i++) links.push([chain[i - 1], chain[i]]);
    return { edge, chain, turned: edge.from !== from };
  });
  return { layers, chains, links };
}

/** Orders every layer by the mean place of its neighbours in the layer before it, forwards and backwards, and keeps the best order seen. */
function order(layers, links) {
  const before = groupBy(links, (link) => link[1], (link) => link[0]);
  const after = groupBy(links, (link) => link[0], (link) => link[1]);
  const index = () => layers.forEach((layer) => layer.forEach((cell, i) => (cell.index = i)));
  index();
  let best = { crossings: crossings(layers, after), layers: layers.map((layer) => [...layer]) };
  for (let sweep = 0; sweep < SWEEPS && best.crossings > 0; sweep++) {
    const neighbours = sweep % 2 ? after : before;
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      for (const cell of layer) {
        const near = neighbours.get(cell);
        cell.barycentre = near ? near.reduce((sum, other) => sum + other.index, 0) / near.length : cell.index;
      }
      layer.sort((a, b) => a.barycentre - b.barycentre);
      layer.forEach((cell, i) => (cell.index = i));
    }
    const now = crossings(layers, after);
    if (now < best.crossings) best = { crossings: now, layers: layers.map((layer) => [...layer]) };
  }
  layers.splice(0, layers.length, ...best.layers);
  index();
}

function crossings(layers, after) {
  let count = 0;
  for (const layer of layers) {
    const ends = layer.flatMap((cell) => (after.get(cell) ?? []).map((other) => [cell.index, other.index]));
    for (let i = 0; i < ends.length; i++) {
      for (let j = i + 1; j < ends.length; j++) if ((ends[i][0] - ends[j][0]) * (ends[i][1] - ends[j][1]) < 0) count++;
    }
  }
  return count;
}

/** Moves every cell's middle towards the mean of its neighbours, as near as order and gaps allow. */
function place(layers, links, gap) {
  const before = groupBy(links, (link) => link[1], (link) => link[0]);
  const after = groupBy(links, (link) => link[0], (link) => link[1]);
  for (const layer of layers) settle(layer, layer.map((cell, i) => ({ at: i, weight: cell.weight })), gap);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const both = sweep >= SWEEPS - 2;
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      const wanted = layer.map((cell) => {
        const near = [...(both || !(sweep % 2) ? (before.get(cell) ?? []) : []), ...(both || sweep % 2 ? (after.get(cell) ?? []) : [])];
        // What nothing pulls at makes room.
        if (!near.length) return { at: cell.position, weight: cell.weight / 100 };
        const pull = near.reduce((sum, other) => sum + other.weight, 0);
        return { at: near.reduce((sum, other) => sum + other.weight * other.position, 0) / pull, weight: cell.weight };
      });
      settle(layer, wanted, gap);
    }
  }
}

/** The positions nearest to the wanted ones, by least squares, that keep the order and the gaps: pooling of adjacent violators. */
function settle(layer, wanted, gap) {
  const offsets = [];
  layer.forEach((cell, i) => offsets.push(i ? offsets[i - 1] + (layer[i - 1].across + cell.across) / 2 + gap : 0));
  const pools = [];
  layer.forEach((_, i) => {
    let pool = { sum: (wanted[i].at - offsets[i]) * wanted[i].weight, weight: wanted[i].weight, size: 1 };
    while (pools.length && pools.at(-1).sum / pools.at(-1).weight > pool.sum / pool.weight) {
      const last = pools.pop();
      pool = { sum: last.sum + pool.sum, weight: last.weight + pool.weight, size: last.size + pool.size };
    }
    pools.push(pool);
  });
  let i = 0;
  for (const pool of pools) for (let n = 0; n < pool.size; n++, i++) layer[i].position = pool.sum / pool.weight + offsets[i];
}

/** Shifts everything to the origin and reads off positions and edges. */
function measured(layers, chains, layerGap) {
  const all = layers.flat();
  const least = Math.min(...all.map((cell) => cell.position - cell.across / 2), Infinity);
  let along = 0;
  for (const layer of layers) {
    const deep = Math.max(...layer.map((cell) => cell.along), 0);
    for (const cell of layer) Object.assign(cell, { start: along, deep, position: cell.position - least });
    along += deep + layerGap;
  }
  const positions = new Map();
  for (const cell of all) if (cell.node) positions.set(cell.node.id, { along: cell.start, across: cell.position - cell.across / 2 });
  const edges = chains.map(({ edge, chain, turned }) => {
    const points = [];
    chain.forEach((cell, i) => {
      if (i > 0) points.push({ along: cell.start, across: cell.position });
      if (i < chain.length - 1) points.push({ along: cell.start + (cell.node ? cell.along : cell.deep), across: cell.position });
    });
    return { edge, points: turned ? points.reverse() : points };
  });
  const across = Math.max(...all.map((cell) => cell.position + cell.across / 2), 0);
  return { positions, edges, along: Math.max(along - layerGap, 0), across };
}

function groupBy(list, key, value = (item) => item) {
  const groups = new Map();
  for (const item of list) {
    if (!groups.has(key(item))) groups.set(key(item), []);
    groups.get(key(item)).push(value(item));
  }
  return groups;
}
