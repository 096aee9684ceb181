// Server-sent events over fetch: EventSource cannot send a token.
import { request } from './api.js';

const WAIT_MS = [500, 1000, 2000, 5000, 10000];
/** The server says something every 15 seconds; silence for longer means that nobody is there. */
const SILENCE_MS = 40000;

/**
 * Follows a stream for ever. `told(event, data)` gets each event in order; `state(is_live)` says whether the
 * stream is open. Ends with an error that no waiting helps against.
 */
export async function follow(path, told, state) {
  let last = null;
  for (let failures = 0; ; failures += 1) {
    const broken = new AbortController();
    try {
      const headers = { accept: 'text/event-stream', ...(last && { 'last-event-id': last }) };
      const response = await request(path, { headers, signal: broken.signal, cache: 'no-store' });
      state(true);
      failures = 0;
      for await (const event of events(response.body, broken)) {
        if (event.id) last = event.id;
        if (event.data) await told(event.event, JSON.parse(event.data));
      }
    } catch (error) {
      // Waiting helps against a server that is down, not against what it says of this page or this person.
      if (error.name === 'SyntaxError' || [401, 403].includes(error.status)) throw error;
    }
    broken.abort();
    state(false);
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS[Math.min(failures, WAIT_MS.length - 1)]));
  }
}

async function* events(body, broken) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const silent = setTimeout(() => broken.abort(), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(silent));
    if (done) return;
    text += value;
    const blocks = text.split('\n\n');
    text = blocks.pop();
    for (const block of blocks) yield fields(block);
  }
}

/** `id`, `event` and `data` of one block; a comment has none of them. */
function fields(block) {
  const event = { event: 'message', data: '' };
  for (const line of block.split('\n')) {
    const colon = line.indexOf(': ');
    if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return event;
}
