// Which nodes are shown, and in which groups.
import { holders } from './model.js';

const short = (product) => product.replace(/^NVIDIA-/, '').replace(/-Blackwell.*$/, '') || 'other';

/** How nodes can be grouped: what it is called, and a node's group. */
export const GROUPINGS = {
  model: ['By GPU model', (node) => short(node.product)],
  pool: ['By node pool', (node) => node.topology.pool ?? prefix(node.name)],
  rack: ['By rack', (node) => node.topology.rack ?? 'no rack label'],
  zone: ['By zone', (node) => node.topology.zone ?? 'no zone label'],
  none: ['No groups', () => 'All nodes'],
};

/** Nodes without a pool label: machines that are named alike usually are. */
const prefix = (name) => name.replace(/[-.]?\d+$/, '') || name;

/** What can be shown alone. */
export const FILTERS = {
  all: ['All nodes', () => true],
  gpus: ['With GPUs', (node) => node.sum.all > 0 || node.sum.closed > 0],
  stranded: ['With stranded slices', (node) => node.sum.stranded > 0],
  free: ['With free capacity', (node) => node.sum.used + node.sum.stranded < node.sum.all],
  empty: ['Empty', (node) => node.sum.all > 0 && node.sum.used === 0],
  trouble: ['With problems', (node) => node.problems.length > 0 || node.sum.closed > 0 || node.isCordoned],
};

/** Whether every word of a search is in a node's name, model, place, or in the name of a pod on it. */
function matcher(search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return () => true;
  const holds = (node, word) => {
    const { zone = '', rack = '', pool = '' } = node.topology;
    if (`${node.name} ${node.product} ${zone} ${rack} ${pool}`.toLowerCase().includes(word)) return true;
    for (const [pod, profile] of holders(node)) {
      if (pod.toLowerCase().includes(word) || profile.toLowerCase().includes(word)) return true;
    }
    return false;
  };
  return (node) => words.every((word) => holds(node, word));
}

/** The groups by name, each with its nodes by name and their sums. */
export function groups(nodes, { grouping, filter, search }) {
  const [of, shows, matches] = [GROUPINGS[grouping][1], FILTERS[filter][1], matcher(search)];
  const found = new Map();
  for (const node of nodes) {
    if (!shows(node) || !matches(node)) continue;
    const name = of(node);
    if (!found.has(name)) found.set(name, { name, nodes: [], sum: { gpus: 0, all: 0, used: 0, stranded: 0, closed: 0 } });
    const group = found.get(name);
    group.nodes.push(node);
    for (const key of Object.keys(group.sum)) group.sum[key] += node.sum[key];
  }
  const byName = new Intl.Collator('en', { numeric: true });
  for (const group of found.values()) group.nodes.sort((a, b) => byName.compare(a.name, b.name));
  return [...found.values()].sort((a, b) => byName.compare(a.name, b.name));
}
