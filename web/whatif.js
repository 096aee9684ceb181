// A dry run: pods by quick choice or as objects, placed on the map.
import { post } from './api.js';
import { count, el } from './dom.js';
import { Overlay } from './overlay.js';
import { choices, list, pod } from './requests.js';

const EXAMPLE = `apiVersion: apps/v1
kind: Deployment
metadata: {name: try, namespace: default}
spec:
  replicas: 2
  template:
    spec:
      tolerations: [{operator: Exists}]
      containers:
      - name: main
        resources:
          limits: {tangram.gpu/mig-1g.10gb: "1"}
`;

const option = ([text, value]) => el('option', { value }, text);

/** The error of a request, with a line per thing that is wrong. */
export function failure(error) {
  return el('div', { class: 'error', role: 'alert' }, error.message, error.errors?.length ? el('ul', {}, error.errors.map((line) => el('li', {}, line))) : null);
}

/** The form and what came of it. */
export class WhatIf {
  #kind = el('select', { name: 'kind' });
  #pods = el('input', { type: 'number', name: 'pods', min: 1, max: 500, value: 1 });
  #each = el('input', { type: 'number', name: 'each', min: 1, max: 64, value: 1 });
  #policy = el('select', { name: 'policy' }, [['as configured', ''], ['pack', 'pack'], ['spread', 'spread']].map(option));
  #text = el('textarea', { name: 'objects', spellcheck: false, value: EXAMPLE });
  #result = el('div', { 'aria-live': 'polite' });
  #isText = false;
  root = el('div', { class: 'sheet' });

  constructor(ui) {
    this.ui = ui;
    this.#build();
  }

  #build() {
    const way = (text, isText) => el('button', { type: 'button', 'aria-pressed': String(this.#isText === isText), onclick: () => {
      this.#isText = isText;
      this.#build();
    } }, text);
    const quick = () => [
      el('div', { class: 'even' }, el('label', {}, 'Resource', this.#kind), el('label', {}, 'Policy', this.#policy)),
      el('div', { class: 'even' }, el('label', {}, 'Pods', this.#pods), el('label', {}, 'Of it per pod', this.#each)),
    ];
    const text = () => [el('label', {}, 'Pods or workloads, YAML or JSON', this.#text), el('label', {}, 'Policy', this.#policy)];
    const form = el('form', { class: 'ask', onsubmit: (event) => {
      event.preventDefault();
      this.run();
    } }, (this.#isText ? text : quick)(), el('div', { class: 'buttons' }, el('button', { class: 'main' }, 'Try'), el('button', { type: 'button', onclick: () => this.clear() }, 'Clear')));
    this.root.replaceChildren(
      el('h2', {}, 'What if these pods came?'),
      el('p', { class: 'muted' }, 'A dry run on the cluster as it is now. Nothing changes but the drawing.'),
      el('p', {}, el('span', { class: 'switch', role: 'group', 'aria-label': 'How to say it' }, way('Quick', false), way('Objects', true))),
      form,
      this.#result,
    );
  }

  draw() {
    const [was, all] = [this.#kind.value, choices(this.ui.model)];
    if (all.length === this.#kind.options.length) return;
    this.#kind.replaceChildren(...all.map(option));
    this.#kind.value = all.some(([, value]) => value === was) ? was : (all.find(([name]) => name.startsWith('3g.')) ?? all[0])?.[1] ?? '';
  }

  #body() {
    if (this.#isText) return this.#text.value;
    const names = Array.from({ length: Number(this.#pods.value) }, (_, at) => `what-if-${at + 1}`);
    return list(names.map((name) => pod(name, 'default', [[this.#kind.value, this.#each.value]])));
  }

  async run() {
    try {
      const policy = this.#policy.value && `?policy=${this.#policy.value}`;
      const answer = await post(`/v1/dryrun${policy}`, this.#body());
      this.#result.replaceChildren(...this.#shown(answer));
      this.ui.overlay(Overlay.ofDryRun(answer, `Dry run: ${answer.fit} of ${count(answer.pods.length, 'pod')} placed`), true);
    } catch (error) {
      this.#result.replaceChildren(failure(error));
    }
  }

  #shown(answer) {
    const place = (it) => (it.devices ?? []).map((device) => `GPU ${device.gpu}, ${device.profile} at ${device.start}`).join('; ') || 'device chosen by the kubelet';
    const line = (it) => el('li', {}, it.node
      ? [el('span', { class: 'text yes' }, `${it.name}: `, el('button', { type: 'button', class: 'link', onclick: () => this.ui.choose(it.node) }, it.node), ` (${place(it)})`)]
      : el('span', { class: 'text no' }, `${it.name}: no place`));
    const refused = answer.pods.find((it) => !it.node);
    return [
      el('p', { class: `verdict ${answer.allFit ? '' : 'bad'}` }, answer.allFit ? (answer.pods.length === 1 ? 'It fits.' : `All ${answer.pods.length} fit.`) : `${answer.fit} of ${answer.pods.length} fit.`),
      el('ul', { class: 'changes' }, answer.pods.slice(0, 40).map(line)),
      answer.pods.length > 40 ? el('p', { class: 'muted' }, `and ${answer.pods.length - 40} more`) : '',
      ...(refused ? [
        el('h3', {}, `Why ${refused.name} has no place`),
        el('ul', { class: 'reasons' }, (refused.refusals ?? []).map((it) => el('li', { title: it.nodes.join(', ') }, el('b', {}, String(it.count)), el('span', {}, it.reason)))),
        el('ul', { class: 'reasons' }, (refused.details ?? []).map((text) => el('li', {}, text))),
      ] : []),
    ];
  }

  clear() {
    this.#result.replaceChildren();
    this.ui.overlay(null);
  }

  focus() {
    (this.#isText ? this.#text : this.#kind).focus();
  }
}
