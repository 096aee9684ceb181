// Requests to this server. Addresses are relative to where the page is, so that it works behind a proxy's path.

const BASE = new URL('..', import.meta.url);
const TOKEN = 'tangram.token';

/** What went wrong, in the server's words. */
export class Problem extends Error {
  constructor(status, text, errors = []) {
    super(text);
    this.status = status;
    this.errors = errors;
  }
}

/** Asks people for a token; set by whoever can. */
let askForToken = async () => null;
export const onTokenWanted = (ask) => (askForToken = ask);

/** Proxies, the API server's among them, take `Authorization` for themselves. */
function headers(more) {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { ...more, 'tangram-authorization': `Bearer ${token}` } : more;
}

let asking = null;

/** One token for everybody who was refused meanwhile. */
async function renewed() {
  asking ??= askForToken().finally(() => (asking = null));
  const token = await asking;
  if (token) sessionStorage.setItem(TOKEN, token);
  return Boolean(token);
}

/** A response with a good status. */
export async function request(path, options = {}) {
  const url = new URL(path.replace(/^\//, ''), BASE);
  const response = await fetch(url, { ...options, headers: headers(options.headers ?? {}) });
  if (response.status === 401 && (await renewed())) return request(path, options);
  if (!response.ok) {
    const text = await response.text();
    let problem = {};
    try {
      problem = JSON.parse(text);
    } catch {
      problem = { detail: text.slice(0, 500) };
    }
    throw new Problem(response.status, problem.detail || problem.title || response.statusText, problem.errors);
  }
  return response;
}

export const get = async (path) => (await request(path)).json();

export async function post(path, body) {
  const options = { method: 'POST', body, headers: { 'content-type': 'application/yaml' } };
  return (await request(path, options)).json();
}
