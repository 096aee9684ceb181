// What is shown, and how: search, filter, groups, cells or cards, colours.
import { el } from './dom.js';
import { FILTERS, GROUPINGS } from './groups.js';

const KEPT = 'tangram.view';
const COLOURS = { namespace: ['Colour: namespace'], profile: ['Colour: profile'] };
const START = { grouping: 'model', filter: 'all', search: '', mode: 'auto', by: 'namespace' };

/** How the map is looked at; what people choose is kept in this browser. */
export class Controls {
  view = { ...START, ...JSON.parse(localStorage.getItem(KEPT) ?? '{}'), search: '' };
  #search = el('input', { type: 'search', class: 'search', placeholder: 'Search nodes and pods   /', 'aria-label': 'Search' });
  #filter = this.#select('Show', FILTERS, 'filter');
  #grouping = this.#select('Group by', GROUPINGS, 'grouping');
  #modes = this.#switch('How nodes are drawn', 'mode', [['Cells', 'cells'], ['Cards', 'cards']]);
  #colours = this.#select('What colours mean', COLOURS, 'by');
  #shown = el('span', { class: 'shown', role: 'status' });

  constructor(root, changed) {
    this.changed = changed;
    let timer;
    this.#search.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.set({ search: this.#search.value }), 120);
    });
    root.append(this.#search, this.#filter, this.#grouping, this.#modes, this.#colours, this.#shown);
    this.#reflect();
  }

  #select(label, table, key) {
    const options = Object.entries(table).map(([value, [text]]) => el('option', { value }, text));
    return el('select', { 'aria-label': label, title: label, onchange: (event) => this.set({ [key]: event.target.value }) }, options);
  }

  #switch(label, key, ways) {
    return el('span', { class: 'switch', role: 'group', 'aria-label': label }, ways.map(([text, value]) => el('button', { type: 'button', 'data-value': value, onclick: () => this.set({ [key]: value }) }, text)));
  }

  /** Changes some of the view. */
  set(some) {
    Object.assign(this.view, some);
    localStorage.setItem(KEPT, JSON.stringify({ ...this.view, search: '' }));
    this.#reflect();
    this.changed(Object.keys(some));
  }

  /** What `auto` comes to; people see which it is. */
  reflectMode(mode) {
    for (const button of this.#modes.children) button.setAttribute('aria-pressed', String(button.dataset.value === mode));
  }

  #reflect() {
    if (this.#search.value !== this.view.search) this.#search.value = this.view.search;
    this.#filter.value = this.view.filter;
    this.#grouping.value = this.view.grouping;
    this.reflectMode(this.view.mode);
    this.#colours.value = this.view.by;
  }

  /** The next grouping. */
  next() {
    const all = Object.keys(GROUPINGS);
    this.set({ grouping: all[(all.indexOf(this.view.grouping) + 1) % all.length] });
  }

  said(text) {
    this.#shown.textContent = text;
  }

  focus() {
    this.#search.focus();
    this.#search.select();
  }
}
