// Dialogs: the keys, and a token where the server wants one.
import { el } from './dom.js';
import { KEYS } from './keys.js';

function open(dialog) {
  document.body.append(dialog);
  dialog.addEventListener('close', () => dialog.remove());
  dialog.showModal();
  return dialog;
}

/** Shows the keys. */
export function help() {
  const key = ([keys, text]) => el('div', {}, el('dt', {}, keys.split(/\s+/).flatMap((it) => (it === '…' ? [' … '] : [el('kbd', {}, it), ' ']))), el('dd', {}, text));
  open(el('dialog', { 'aria-labelledby': 'help-title' },
    el('h2', { id: 'help-title' }, 'Keys'),
    el('dl', { class: 'keys' }, KEYS.map(key)),
    el('h3', {}, 'The map'),
    el('p', {}, 'Each bar is a GPU, each part of it a memory slice. A coloured block is a pod’s GPU instance; the strip at its left has a colour and a pattern. Hatched slices are free, but nothing that is asked for fits there.'),
    el('p', {}, 'A cell is a node: filled as far as it is in use, hatched as far as it is stranded. ! is a problem, – is cordoned, dotted has no GPUs.'),
    el('form', { method: 'dialog', class: 'ask' }, el('div', { class: 'buttons' }, el('button', { class: 'main' }, 'Close')))));
}

/** Asks for a bearer token; null where there is none. */
export function askForToken() {
  const token = el('input', { type: 'password', autocomplete: 'off', name: 'token' });
  const dialog = open(el('dialog', { 'aria-labelledby': 'token-title' },
    el('h2', { id: 'token-title' }, 'Who are you?'),
    el('p', {}, 'The server wants a bearer token of the cluster, such as kubectl create token prints. It is kept until this tab is closed.'),
    el('form', { method: 'dialog', class: 'ask' }, el('label', {}, 'Token', token), el('div', { class: 'buttons' }, el('button', { class: 'main' }, 'Go on')))));
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(token.value.trim() || null)));
}
