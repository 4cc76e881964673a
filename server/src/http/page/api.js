// Requests to the server that served the page. Every failure is a `Failure`: either the server's own error, or `lost` if nobody answers.

const PATIENCE_MS = 8000;

/** Why there is no answer. */
export class Failure extends Error {
  constructor({ message, code = null, hint = null, detail = null, cause = null, position = null, status = 0, lost = false, results = null }) {
    super(message);
    Object.assign(this, { code, hint, detail, cause, position, status, lost, results });
  }
}

/** GET of JSON. */
export async function get(path) {
  return request(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
}

/** POST of JSON. `signal` ends it. */
export async function post(path, body, signal) {
  return request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}), signal });
}

/** A path of URL-encoded parts. */
export function path(...parts) {
  return `/api/v1/${parts.map(encodeURIComponent).join("/")}`;
}

async function request(url, options) {
  let answer;
  let body;
  try {
    answer = await fetch(url, { cache: "no-store", ...options, headers: { accept: "application/json", ...options.headers } });
    body = await answer.json().catch((error) => (error.name === "SyntaxError" ? null : Promise.reject(error)));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure({ message: error.name === "TimeoutError" ? "the server did not answer in time" : "the server does not answer", lost: true });
  }
  if (answer.ok && body !== null) return body;
  const error = body?.error ?? { message: `the server answered ${answer.status} without a reason` };
  throw new Failure({ ...error, status: answer.status, results: body?.results ?? null });
}
