'use strict';
const byId = (id) => document.getElementById(id);
let key = sessionStorage.getItem('key') || '';

const bytes = (n) => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n.toFixed(unit && n < 100 ? 1 : 0)} ${units[unit]}`;
};
const count = (n) => n.toLocaleString('en');
const seconds = (ms) => ms === null ? '' : ms < 90e3 ? `${Math.ceil(ms / 1e3)} s` : `${Math.ceil(ms / 60e3)} min`;

async function ask(path) {
  const answer = await fetch(path, { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  byId('key-entry').hidden = answer.status !== 401;
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ? body.error.message : `status ${answer.status}`);
  return body;
}

// A cell is text or a node; `numbers` come after them and stand at the right.
function row(cells, numbers) {
  const line = document.createElement('tr');
  for (const cell of cells.concat(numbers)) line.appendChild(document.createElement('td')).append(cell);
  for (const box of [...line.children].slice(cells.length)) box.className = 'number';
  return line;
}

function progress(context) {
  const { total, processed } = context.progress;
  if (context.status === 'failed') {
    const why = document.createElement('span');
    why.className = 'trouble';
    why.textContent = context.last_error ? context.last_error.message : 'failed';
    return why;
  }
  if (context.status !== 'in_progress' && context.status !== 'queued') return '';
  const bar = document.createElement('progress');
  if (total) { bar.max = total; bar.value = processed; }
  const box = document.createElement('span');
  const phase = context.phase || 'waiting';
  box.append(bar, total ? `${phase}, ${Math.floor(100 * processed / total)} %` : phase);
  return box;
}

function showCluster(cluster) {
  byId('state').textContent = cluster.state;
  byId('state').className = cluster.state;
  const model = cluster.model;
  byId('model').textContent = model
    ? `${model.id}: ${model.architecture}, window ${count(model.context_length)} tokens, KV ${cluster.kv_type}, numerics ${cluster.numerics_id}`
    : 'No model yet.';
  byId('ranks').replaceChildren(...cluster.ranks.map((rank) => row([
    rank.rank, rank.host, `${rank.lanes.begin}–${rank.lanes.end - 1}`
  ], [
    rank.threads, `${bytes(rank.bytes.host_used)} of ${bytes(rank.bytes.host_budget)}`, bytes(rank.bytes.disk_used),
    count(rank.tokens.prefilled + rank.tokens.decoded), count(rank.tokens.recomputed), count(rank.blocks.corrupt)])));
  const troubles = cluster.refused.concat(...cluster.ranks.flatMap((rank) => [
    rank.failed_volumes.map((volume) => `${volume.path}: ${volume.reason}`),
    rank.volumes.filter((volume) => volume.is_salvaged).map((volume) => `${volume.path}: a file is damaged; verify its contexts`)]));
  byId('troubles').replaceChildren(...troubles.map((text) => {
    const item = document.createElement('li');
    item.className = 'trouble';
    item.textContent = text;
    return item;
  }));
}

function showContexts(list) {
  byId('contexts').replaceChildren(...list.data.map((context) => row([
    context.id, context.display_name || '', context.status.replace('_', ' '), progress(context)
  ], [
    seconds(context.progress.eta_ms), count(context.usage.total_tokens), bytes(context.usage.bytes.disk)])));
  byId('more').textContent = list.has_more ? 'The newest 50 are shown.' : list.data.length ? '' : 'No contexts yet.';
}

async function refresh() {
  try {
    showCluster(await ask('/v1/cluster'));
    showContexts(await ask('/v1/contexts?limit=50'));
    document.body.className = '';
  } catch (error) {
    byId('state').textContent = error.message;
    byId('state').className = 'trouble';
    document.body.className = 'stale';  // what is shown was true a while ago
  }
  setTimeout(refresh, 2000);
}

byId('use-key').addEventListener('click', () => {
  key = byId('key').value;
  sessionStorage.setItem('key', key);
});
refresh();
