// The map: only the rows in sight are elements, so that it is as quick with five thousand nodes as with five.
import { el, count, percent } from './dom.js';
import { devices, heightOf, tags, words } from './gpu.js';

const GROUP_HEIGHT = 40;
const CELL = 20;
const CARD_MIN = 196;
const GAP = 10;
const MARGIN = 32;
const AROUND = 300; // pixels above and below that are drawn too

const share = ({ all, used, stranded }) => {
  const bar = el('span', { class: 'share', 'aria-hidden': 'true' }, el('i', { class: 'used' }), el('i', { class: 'stranded' }));
  bar.children[0].style.width = `${(100 * used) / (all || 1)}%`;
  bar.children[1].style.width = `${(100 * stranded) / (all || 1)}%`;
  return bar;
};

/** The map of groups of nodes. Tells `pick` with a node's name and perhaps a GPU's number. */
export class ClusterMap {
  #root;
  #canvas = el('div', { class: 'canvas' });
  #rows = []; // { top, height, group | nodes }
  #drawn = new Map(); // row -> element
  #order = []; // names in the order of the arrow keys
  #rowOf = new Map();
  #groups = [];
  context;
  mode = 'cards';
  selected = null;
  focused = null;

  constructor(root, context, pick) {
    this.#root = root;
    this.context = context;
    this.pick = pick;
    root.append(this.#canvas);
    let isQueued = false;
    root.addEventListener('scroll', () => {
      if (isQueued) return;
      isQueued = true;
      requestAnimationFrame(() => {
        isQueued = false;
        this.#draw();
      });
    });
    let width = 0;
    new ResizeObserver(() => {
      if (root.clientWidth === width) return this.#draw();
      width = root.clientWidth;
      this.#layOut();
    }).observe(root);
    this.#canvas.addEventListener('click', (event) => {
      const node = event.target.closest('[data-node]')?.dataset.node;
      const gpu = event.target.closest('[data-gpu]')?.dataset.gpu;
      if (node) this.choose(node, gpu === undefined ? undefined : Number(gpu));
    });
    this.#canvas.addEventListener('focusin', (event) => {
      const node = event.target.closest('[data-node]')?.dataset.node;
      if (node) this.#rove(node);
    });
    this.#canvas.addEventListener('keydown', (event) => this.#keys(event));
  }

  /** Shows groups. */
  show(groups) {
    this.#groups = groups;
    this.#layOut();
  }

  /** Draws some nodes again, or all. */
  refresh(names) {
    for (const [row, element] of this.#drawn) {
      if (!row.nodes || (names && !row.nodes.some((name) => names.has(name)))) continue;
      this.#replace(row, element);
    }
  }

  #columns() {
    const width = this.#root.clientWidth - MARGIN;
    if (this.mode === 'cells') return Math.max(1, Math.floor((width + 3) / CELL));
    return Math.max(1, Math.floor((width + GAP) / (CARD_MIN + GAP)));
  }

  #layOut() {
    const columns = this.#columns();
    this.#rows = [];
    this.#order = [];
    this.#rowOf.clear();
    let top = 0;
    const push = (row) => {
      row.top = top;
      top += row.height;
      this.#rows.push(row);
    };
    for (const group of this.#groups) {
      push({ group, height: GROUP_HEIGHT });
      for (let at = 0; at < group.nodes.length; at += columns) {
        const nodes = group.nodes.slice(at, at + columns);
        const height = this.mode === 'cells' ? CELL : Math.max(...nodes.map(heightOf)) + GAP + 4;
        const row = { nodes: nodes.map((node) => node.name), height, columns };
        for (const name of row.nodes) {
          this.#rowOf.set(name, row);
          this.#order.push(name);
        }
        push(row);
      }
    }
    this.#canvas.style.height = `${top + 16}px`;
    this.#drawn.clear();
    this.#canvas.replaceChildren();
    if (!this.#rows.length) this.#canvas.append(el('p', { class: 'none' }, 'No node matches.'));
    if (!this.#rowOf.has(this.focused)) this.focused = this.#order[0] ?? null;
    this.#draw();
  }

  /** Makes elements of the rows in sight, and drops the others. */
  #draw() {
    const [from, to] = [this.#root.scrollTop - AROUND, this.#root.scrollTop + this.#root.clientHeight + AROUND];
    for (const [row, element] of this.#drawn) {
      const holdsFocus = element.contains(document.activeElement);
      if ((row.top + row.height < from || row.top > to) && !holdsFocus) {
        element.remove();
        this.#drawn.delete(row);
      }
    }
    let [low, high] = [0, this.#rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#rows[middle].top + this.#rows[middle].height < from) low = middle + 1;
      else high = middle;
    }
    const fresh = document.createDocumentFragment();
    for (let at = low; at < this.#rows.length && this.#rows[at].top < to; at += 1) {
      const row = this.#rows[at];
      if (this.#drawn.has(row)) continue;
      const element = this.#row(row);
      this.#drawn.set(row, element);
      fresh.append(element);
    }
    this.#canvas.append(fresh);
  }

  #replace(row, element) {
    const name = element.contains(document.activeElement) ? this.focused : null;
    const fresh = this.#row(row);
    element.replaceWith(fresh);
    this.#drawn.set(row, fresh);
    if (name) fresh.querySelector(`[data-focus="${CSS.escape(name)}"]`)?.focus({ preventScroll: true });
  }

  #row(row) {
    const element = el('div', { class: 'row' }, row.group ? this.#group(row.group) : this.#nodes(row));
    element.style.top = `${row.top}px`;
    element.style.height = `${row.height}px`;
    return element;
  }

  #group({ name, nodes, sum }) {
    const figures = [count(nodes.length, 'node')];
    if (sum.gpus) figures.push(count(sum.gpus, 'GPU'));
    if (sum.all) figures.push(`${percent(sum.used / sum.all)} in use`);
    if (sum.stranded) figures.push(`${count(sum.stranded, 'slice')} stranded`);
    if (sum.closed) figures.push(`${sum.closed} closed`);
    return el('div', { class: 'group' }, el('h3', {}, name), sum.all ? share(sum) : null, el('span', { class: 'figures' }, figures.join(' · ')));
  }

  #nodes(row) {
    const nodes = row.nodes.map((name) => this.context.model.nodes.get(name)).filter(Boolean);
    if (this.mode === 'cells') return el('div', { class: 'cells' }, nodes.map((node) => this.#cell(node)));
    const cards = el('div', { class: 'cards' }, nodes.map((node) => this.#card(node)));
    cards.style.gridTemplateColumns = `repeat(${row.columns}, minmax(0, 1fr))`;
    return cards;
  }

  #classes(node) {
    const over = this.context.overlay?.of(node.name);
    const mark = over?.added.length || over?.units.length ? 'ghost' : over?.gone.length || over?.left.size ? 'from' : '';
    const isFresh = node.changed && performance.now() - node.changed < 2000;
    return `${mark} ${isFresh ? 'fresh' : ''} ${node.name === this.selected ? 'selected' : ''}`;
  }

  #cell(node) {
    const { all, used, stranded, closed } = node.sum;
    const state = closed || node.problems.length ? 'trouble' : node.isCordoned ? 'cordoned' : all ? '' : 'none';
    const text = words(node);
    const button = el('button', {
      type: 'button', class: `cell ${state} ${this.#classes(node)}`, title: text, 'aria-label': text,
      'data-node': node.name, 'data-focus': node.name, tabIndex: node.name === this.focused ? 0 : -1,
    });
    if (all) {
      const [fill, lost] = [el('i'), el('i', { class: 'stranded' })];
      fill.style.height = `${(100 * used) / all}%`;
      lost.style.bottom = fill.style.height;
      lost.style.height = `${(100 * stranded) / all}%`;
      button.append(fill, lost);
    }
    return button;
  }

  #card(node) {
    const name = el('button', {
      type: 'button', class: 'name', title: words(node), 'aria-label': words(node),
      'data-focus': node.name, tabIndex: node.name === this.focused ? 0 : -1,
    }, node.name);
    return el('div', { class: `card ${this.#classes(node)}`, 'data-node': node.name }, el('div', { class: 'head' }, name, tags(node)), devices(node, this.context));
  }

  /** Selects a node. */
  choose(name, gpu) {
    this.mark(name);
    this.pick(name, gpu);
  }

  /** Marks a node without telling anybody. */
  mark(name) {
    const both = new Set([this.selected, name]);
    this.selected = name;
    if (name) this.focused = name;
    this.refresh(both);
  }

  /** Brings a node into sight. */
  reveal(name) {
    const row = this.#rowOf.get(name);
    if (!row) return;
    const { scrollTop, clientHeight } = this.#root;
    if (row.top < scrollTop || row.top + row.height > scrollTop + clientHeight) {
      this.#root.scrollTop = Math.max(0, row.top - Math.min(GROUP_HEIGHT, clientHeight / 3));
    }
    this.#draw();
  }

  /** Puts the keyboard onto the map. */
  focus(name = this.focused) {
    if (!name) return;
    this.reveal(name);
    this.#canvas.querySelector(`[data-focus="${CSS.escape(name)}"]`)?.focus({ preventScroll: true });
  }

  /** One node at a time is a stop of the Tab key. */
  #rove(name) {
    if (name === this.focused) return;
    for (const [which, index] of [[this.focused, -1], [name, 0]]) {
      const element = which && this.#canvas.querySelector(`[data-focus="${CSS.escape(which)}"]`);
      if (element) element.tabIndex = index;
    }
    this.focused = name;
  }

  #keys(event) {
    const at = this.#order.indexOf(this.focused);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = this.#rowOf.get(this.focused);
    const next = {
      ArrowLeft: () => this.#order[at - 1],
      ArrowRight: () => this.#order[at + 1],
      ArrowUp: () => this.#beside(row, -1),
      ArrowDown: () => this.#beside(row, 1),
      Home: () => this.#order[0],
      End: () => this.#order.at(-1),
    }[event.key]?.();
    if (!next) return;
    event.preventDefault();
    this.#rove(next);
    this.focus(next);
  }

  /** The node above or below. */
  #beside(row, step) {
    const column = row.nodes.indexOf(this.focused);
    for (let at = this.#rows.indexOf(row) + step; this.#rows[at]; at += step) {
      const { nodes } = this.#rows[at];
      if (nodes) return nodes[Math.min(column, nodes.length - 1)];
    }
    return undefined;
  }
}

