// The only module that builds elements. `h` describes one, `render` makes the page look like a description and keeps what is already there, with
// its focus, selection and scroll position. Data reaches the page as text nodes and attribute values only, never as markup.

const SVG = "http://www.w3.org/2000/svg";
/** The description that each element was drawn from. */
const drawn = new WeakMap();

/**
 * Describes an element. Properties are attributes, but for: `key` (which of its siblings this is), `on` (handlers by event), `style` (an object;
 * the policy of the page forbids style attributes), `value`, `checked`, `ref` (called once with the new element), `opaque` (children belong to `ref`).
 */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, key: props?.key, children: described(children) };
}

function described(children) {
  const list = [];
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === true || child === "") continue;
    list.push(typeof child === "object" ? child : { text: String(child) });
  }
  return list;
}

/** Makes the children of an element look as described. */
export function render(parent, ...children) {
  patchChildren(parent, described(children), parent.namespaceURI === SVG);
}

function patchChildren(parent, next, inSvg) {
  const keyed = new Map();
  const unkeyed = [];
  for (const node of [...parent.childNodes]) {
    const was = drawn.get(node);
    if (!was) node.remove();
    else if (was.key === undefined) unkeyed.push(node);
    else keyed.set(was.key, node);
  }
  const nodes = next.map((description) => {
    const candidate = description.key === undefined ? unkeyed.shift() : keyed.get(description.key);
    if (description.key !== undefined) keyed.delete(description.key);
    if (candidate && same(drawn.get(candidate), description)) return patch(candidate, description, inSvg);
    candidate?.remove();
    return create(description, inSvg);
  });
  // What is gone leaves first, so that what stays is not moved: moving an element costs it its focus.
  for (const node of [...unkeyed, ...keyed.values()]) node.remove();
  let at = parent.firstChild;
  for (const node of nodes) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
}

function same(was, is) {
  return was.tag === is.tag;
}

function create(description, inSvg) {
  if (description.text !== undefined) {
    const node = document.createTextNode(description.text);
    drawn.set(node, description);
    return node;
  }
  const svg = inSvg || description.tag === "svg";
  const node = svg ? document.createElementNS(SVG, description.tag) : document.createElement(description.tag);
  drawn.set(node, { tag: description.tag, props: {}, key: description.key, children: [] });
  patch(node, description, svg);
  description.props.ref?.(node);
  return node;
}

function patch(node, description, inSvg) {
  const was = drawn.get(node);
  drawn.set(node, description);
  if (description.text !== undefined) {
    if (was.text !== description.text) node.data = description.text;
    return node;
  }
  if (!description.props.opaque) patchChildren(node, description.children, inSvg || description.tag === "svg");
  for (const name of Object.keys(was.props)) if (!(name in description.props)) setProperty(node, name, undefined, was.props[name]);
  for (const [name, value] of Object.entries(description.props)) setProperty(node, name, value, was.props[name]);
  return node;
}

function setProperty(node, name, value, was) {
  switch (name) {
    case "key":
    case "ref":
    case "opaque":
      return;
    case "on":
      for (const event of Object.keys(was ?? {})) if (!value?.[event]) node[`on${event}`] = null;
      for (const [event, handler] of Object.entries(value ?? {})) node[`on${event}`] = handler;
      return;
    case "style":
      for (const property of Object.keys(was ?? {})) if (value?.[property] === undefined) node.style.removeProperty(property);
      for (const [property, text] of Object.entries(value ?? {})) if (was?.[property] !== text) node.style.setProperty(property, text);
      return;
    case "value":
    case "checked":
      if (node[name] !== value) node[name] = value ?? "";
      return;
    default:
      if (value === was) return;
      if (value === undefined || value === null || value === false) node.removeAttribute(name);
      else node.setAttribute(name, value === true ? "" : String(value));
  }
}

/** Says something to screen readers. */
export function announce(text) {
  const announcer = document.getElementById("announcer");
  if (announcer) announcer.textContent = text;
}
