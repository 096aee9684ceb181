// Keys, in one table that the help shows too.

/** Keys: what they do in words, and the name of the act. */
export const KEYS = [
  ['/', 'Search', 'search'],
  ['m', 'To the map', 'map'],
  ['g', 'Group otherwise', 'group'],
  ['v', 'Cells or cards', 'mode'],
  ['c', 'Colours: namespace or profile', 'colours'],
  ['1 … 5', 'The sheets of the panel', 'sheet'],
  ['w', 'What if', 'whatif'],
  ['[  ]', 'Plan: one step back, on', 'step'],
  ['p', 'Plan: play or stop', 'play'],
  ['t', 'Light or dark', 'theme'],
  ['?', 'This help', 'help'],
  ['Esc', 'Clear what is drawn, the search', 'escape'],
  ['← ↑ → ↓', 'On the map: from node to node', null],
  ['Enter', 'On the map: the node in full', null],
];

/** Calls `acts[name](key)` for a key that nobody types a text with. */
export function listen(acts) {
  const byKey = new Map(KEYS.filter(([, , act]) => act).flatMap(([keys, , act]) => keys.split(/\s+/).map((key) => [key, act])));
  for (const sheet of '12345') byKey.set(sheet, 'sheet');
  byKey.delete('…');
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape') return acts.escape(event);
    if (event.target.closest('input, textarea, select')) return;
    const act = byKey.get(event.key);
    if (!act) return;
    event.preventDefault();
    acts[act](event.key);
  });
}
