"use strict";
// Keeps the page current from ./api/v1/nodes: cells are changed in place, rows moved only when their order changes.
// How a value reads is said a second time in exporter/rows.py, for the page as it is served; a test compares the two.
(() => {
  const REFRESH = 5000;
  const UNKNOWN = "–";
  const RANKS = { offline: 0, undecided: 1, online: 2 };
  const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]];
  const ttl = Number(document.body.dataset.ttl);
  const mostRows = Number(document.body.dataset.mostRows);
  const element = (id) => document.getElementById(id);
  const headings = [...document.querySelectorAll("#nodes thead th")];
  const tbody = document.querySelector("#nodes tbody");
  const titles = new Map(headings.map((heading) => [heading.dataset.key, heading.textContent]));

  const number = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1, roundingMode: "halfEven" });
  const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0, roundingMode: "halfEven" });
  const count = (n) => (n >= 1e15 ? n.toExponential(3) : number.format(n));
  const duration = (seconds) => {
    const left = Math.trunc(seconds);
    for (const [size, unit, smaller, name] of UNITS) {
      if (left >= size) return `${Math.trunc(left / size)}${unit} ${Math.trunc((left % size) / smaller)}${name}`;
    }
    return `${left}s`;
  };
  const memory = (bytes) => {
    const mebibytes = bytes / 1048576;
    return mebibytes < 1024 ? `${whole.format(mebibytes)} MiB` : `${count(mebibytes / 1024)} GiB`;
  };
  const escape = (c) => {
    const code = c.codePointAt(0);
    if (code > 0xffff) return `\\U${code.toString(16).padStart(8, "0")}`;
    if (code > 0xff) return `\\u${code.toString(16).padStart(4, "0")}`;
    return { 9: "\\t", 10: "\\n", 13: "\\r" }[code] ?? `\\x${code.toString(16).padStart(2, "0")}`;
  };
  const moment = (unix) => new Date(unix * 1000).toISOString().slice(0, 19).replace("T", " ");
  const printable = (text) => text.replace(/(?! )[\p{C}\p{Z}]/gu, escape);
  const shows = {
    state: String,
    node_id: printable,
    heartbeat_age_seconds: (seconds) => `${duration(seconds)} ago`,
    offline_since: moment,
    cpu_usage_ratio: (ratio) => `${count(ratio * 100)} %`,
    memory_usage_bytes: memory,
    status: String,
  };
  const text = (node, key) => {
    if (node[key] == null) return UNKNOWN;
    const before = key === "offline_since" && !node.offline_since_exact ? "before " : "";
    return before + (shows[key] ?? count)(node[key]);
  };

  let nodes = null;
  let sortKey = null;
  let descending = false;
  const rows = new Map(); // by node id
  let beats = new Map(); // by node id: when it last wrote, the events then, events per second since the beat before

  // The age of a living heartbeat comes from its TTL, and of one that was seen to end from its end,
  // whatever clock the node has. Any other age comes from the time that the node wrote.
  const withAges = (node, now) => {
    const left = node.heartbeat_ttl_seconds;
    const written = node.last_heartbeat;
    let age = null;
    if (left > 0) age = Math.max(0, ttl - left);
    else if (left === 0 && node.offline_since_exact) age = Math.max(0, now - node.offline_since + ttl);
    else if (left === 0 && written !== null && written <= now) age = now - written;
    return { ...node, heartbeat_age_seconds: age };
  };

  // A node writes every ten seconds: its rate is between two beats, not between two looks.
  const withRates = (fresh) => {
    const now = performance.now() / 1000; // exact, where the exporter's Date comes by the second
    const before = beats;
    beats = new Map();
    for (const node of fresh) {
      node.events_per_second = null;
      if (node.state !== "online" || node.heartbeat_age_seconds === null || node.events === null) continue;
      const at = now - node.heartbeat_age_seconds;
      let beat = before.get(node.node_id) ?? { at, events: node.events, rate: null };
      if (at - beat.at > ttl / 30 && node.heartbeat_age_seconds > ttl / 60) {
        const rate = node.events >= beat.events ? (node.events - beat.events) / (at - beat.at) : null;
        beat = { at, events: node.events, rate };
      }
      beats.set(node.node_id, beat);
      node.events_per_second = beat.rate;
    }
    return fresh;
  };

  const compareTexts = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const compare = (a, b) => {
    if (sortKey === null) return RANKS[a.state] - RANKS[b.state] || compareTexts(a.node_id, b.node_id);
    const [x, y] = [a[sortKey], b[sortKey]];
    if (x === null || y === null) return (x === null) - (y === null) || compareTexts(a.node_id, b.node_id);
    const order = typeof x === "number" ? x - y : compareTexts(x, y);
    return (descending ? -order : order) || compareTexts(a.node_id, b.node_id);
  };

  const newRow = (id) => {
    const row = document.createElement("tr");
    row.dataset.id = id;
    row.setAttribute("role", "row");
    for (const heading of headings) {
      const names = heading.dataset.key === "node_id";
      const cell = document.createElement(names ? "th" : "td");
      cell.setAttribute("role", names ? "rowheader" : "cell");
      if (names) cell.scope = "row";
      cell.className = heading.className;
      row.append(cell);
    }
    return row;
  };
  const set = (target, value) => {
    if (target.textContent !== value) target.textContent = value;
  };

  const draw = () => {
    if (nodes === null) return;
    const wanted = element("filter").value.trim().toLowerCase();
    const state = element("state").value;
    const matching = nodes
      .filter((node) => (!state || node.state === state) && (!wanted || printable(node.node_id).toLowerCase().includes(wanted)))
      .sort(compare);
    const shown = matching.slice(0, mostRows);
    const ids = new Set(shown.map((node) => node.node_id));
    for (const [id, row] of rows) {
      if (!ids.has(id)) {
        row.remove();
        rows.delete(id);
      }
    }
    let next = tbody.firstElementChild;
    for (const node of shown) {
      let row = rows.get(node.node_id);
      if (!row) rows.set(node.node_id, (row = newRow(node.node_id)));
      if (row.className !== node.state) row.className = node.state;
      headings.forEach((heading, i) => set(row.children[i], text(node, heading.dataset.key)));
      if (row === next) next = next.nextElementSibling;
      else tbody.insertBefore(row, next);
    }
    const more = matching.length - shown.length;
    element("more").hidden = !more;
    set(element("more"), more ? `${number.format(more)} more nodes are not shown: filter to find them.` : "");
    element("none").hidden = nodes.length > 0;
    set(element("shown"), wanted || state ? `${number.format(matching.length)} of ${number.format(nodes.length)} nodes` : "");
  };

  const trouble = (message) => {
    element("trouble").hidden = !message;
    set(element("trouble"), message);
  };
  const tell = (up, redis = up ? "Redis answers" : "Redis cannot be read") => {
    const counts = { online: 0, offline: 0, undecided: 0 };
    for (const node of nodes ?? []) counts[node.state] += 1;
    for (const count of document.querySelectorAll(".count")) {
      const n = counts[count.dataset.state];
      set(count.firstElementChild, String(n));
      count.classList.toggle("zero", !n);
      count.hidden = !up || (count.dataset.state === "undecided" && !n);
    }
    element("redis").className = up ? "up" : "down";
    set(element("redis"), redis);
    document.title = `${up ? `${counts.offline} offline, ${counts.online} online` : redis} · ginkgo-exporter`;
  };

  const forget = () => {
    nodes = null;
    rows.clear();
    tbody.replaceChildren();
    element("none").hidden = element("more").hidden = true;
    set(element("shown"), "");
  };

  const refresh = async () => {
    const answer = await fetch("./api/v1/nodes", { cache: "no-store" });
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    const { redis_up: up, nodes: fresh } = await answer.json();
    const date = Date.parse(answer.headers.get("Date")) || Date.now();
    if (up) {
      nodes = withRates(fresh.map((node) => withAges(node, date / 1000)));
      draw();
    } else {
      forget();
    }
    document.body.classList.remove("stale");
    tell(up);
    trouble(up ? "" : "Redis cannot be read, so nothing is known of the nodes.");
    set(element("read"), `Read at ${new Date(date).toISOString().slice(0, 19).replace("T", " ")} UTC`);
  };
  const refreshPushed = async () => {
    const section = element("pushed");
    if (!section) return;
    const answer = await fetch("./", { cache: "no-store" });
    const fresh = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("pushed");
    if (fresh && fresh.innerHTML !== section.innerHTML) section.replaceChildren(...fresh.childNodes);
  };
  let timer = null; // none while a refresh is under way
  const keepCurrent = async () => {
    clearTimeout(timer);
    timer = null;
    if (!document.hidden) {
      try {
        await refresh();
        await refreshPushed();
      } catch (error) {
        tell(false, "No answer from the exporter");
        trouble(`The exporter does not answer (${error.message}). What is below is out of date.`);
        document.body.classList.add("stale");
      }
    }
    timer = setTimeout(keepCurrent, REFRESH);
  };

  for (const heading of headings) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = titles.get(heading.dataset.key);
    button.addEventListener("click", () => {
      const { key } = heading.dataset;
      // First this column upwards, then downwards, then again offline nodes first.
      if (sortKey !== key) [sortKey, descending] = [key, false];
      else if (!descending) descending = true;
      else sortKey = null;
      for (const other of headings) {
        if (other.dataset.key !== sortKey) other.removeAttribute("aria-sort");
        else other.setAttribute("aria-sort", descending ? "descending" : "ascending");
      }
      draw();
    });
    heading.replaceChildren(button);
  }
  element("controls").hidden = false;
  element("controls").addEventListener("submit", (event) => event.preventDefault());
  element("filter").addEventListener("input", draw);
  element("state").addEventListener("change", draw);
  for (const row of tbody.children) rows.set(row.dataset.id, row);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && timer !== null) keepCurrent();
  });
  keepCurrent();
})();
