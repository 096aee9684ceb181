// Pods made from words, for dry runs.

/** A resource and a number out of `2x nvidia.com/gpu, 3g.40gb`. */
export function parse(request) {
  return request.split(', ').map((part) => {
    const [, many, what] = part.match(/^(?:(\d+)x )?(.+)$/);
    const mib = what.match(/^(\d+) MiB/)?.[1];
    return mib ? ['tangram.gpu/mem', mib] : [resourceOf(what), many ?? '1'];
  });
}

/** Profiles are asked for by Tangram's own resource, memory by its amount. */
function resourceOf(what) {
  if (what.includes('/')) return what;
  return `tangram.gpu/mig-${what.replace('+', '.')}`;
}

/** A Pod that asks for some resources and tolerates every taint. */
export function pod(name, namespace, resources) {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      tolerations: [{ operator: 'Exists' }],
      containers: [{ name: 'main', image: 'none', resources: { limits: Object.fromEntries(resources) } }],
    },
  };
}

/** Several of them as one List. */
export const list = (items) => JSON.stringify({ apiVersion: 'v1', kind: 'List', items });

/** What people can ask for in this cluster: profiles of its dynamic GPUs, and the resources that nodes count. */
export function choices(model) {
  const [profiles, resources] = [new Map(), new Set()];
  for (const node of model.nodes.values()) {
    for (const gpu of node.gpus) {
      if (gpu.isDynamic) for (const row of model.models.get(gpu.model)?.profiles ?? []) profiles.set(row.profile, row.memoryMib);
    }
    for (const pool of node.pools) resources.add(pool.resource);
  }
  const byMemory = [...profiles].filter(([name]) => !/[+-]/.test(name)).sort((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1));
  return [...byMemory.map(([name]) => [name, resourceOf(name)]), ...[...resources].sort().map((name) => [name, name])];
}
