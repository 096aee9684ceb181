// What is drawn over the map: places of a dry run, or the state after some steps of a plan.

const key = (namespace, name) => `${namespace}/${name}`;

/** Changes to nodes that exist nowhere but on the screen. */
export class Overlay {
  #nodes = new Map();

  constructor(title) {
    this.title = title;
  }

  /** What is different on a node; undefined where nothing is. */
  of(node) {
    return this.#nodes.get(node);
  }

  get names() {
    return [...this.#nodes.keys()];
  }

  #at(node) {
    if (!this.#nodes.has(node)) this.#nodes.set(node, { added: [], gone: [], units: [], left: new Set() });
    return this.#nodes.get(node);
  }

  /** A pod comes: GPU instances, or so many counted devices. */
  add(node, pod, devices, request) {
    const over = this.#at(node);
    over.added.push(...devices.map((device) => ({ ...device, pod })));
    if (!devices.length) over.units.push(...counted(request).map((unit) => ({ ...unit, pod })));
  }

  /** A pod goes; one that came over the map only is as if it had never come. */
  remove(node, pod, devices) {
    const over = this.#at(node);
    for (const { gpu, start } of devices) {
      const came = over.added.findIndex((it) => it.gpu === gpu && it.start === start && it.pod === pod);
      if (came >= 0) over.added.splice(came, 1);
      else over.gone.push({ gpu, start, pod });
    }
    if (devices.length) return;
    const stayed = over.units.filter((unit) => unit.pod !== pod);
    if (stayed.length === over.units.length) over.left.add(pod);
    over.units = stayed;
  }

  /** The places that a dry run found. */
  static ofDryRun(answer, title) {
    const overlay = new Overlay(title);
    for (const pod of answer.pods) {
      if (pod.node) overlay.add(pod.node, key(pod.namespace, pod.name), pod.devices ?? [], pod.request);
    }
    return overlay;
  }

  /** The cluster after the first steps of a plan; with all of them, also with the pods that it made room for. */
  static ofPlan(plan, steps, title) {
    const overlay = new Overlay(title);
    for (const step of plan.steps.slice(0, steps)) {
      const pod = key(step.namespace, step.name);
      overlay.remove(step.from.node, pod, step.from.devices ?? []);
      overlay.add(step.to.node, pod, step.to.devices ?? [], step.request);
    }
    if (steps === plan.steps.length) {
      for (const { namespace, name, request, place } of plan.pods ?? []) {
        if (place) overlay.add(place.node, key(namespace, name), place.devices ?? [], request);
      }
    }
    return overlay;
  }
}

/** `2x nvidia.com/gpu, 3g.40gb`: the counted resources in it. */
function counted(request) {
  return request
    .split(', ')
    .map((part) => part.match(/^(?:(\d+)x )?(.+\/.+)$/))
    .filter(Boolean)
    .map(([, many, resource]) => ({ resource, count: Number(many ?? 1) }));
}
