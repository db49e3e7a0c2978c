"use strict";
// Refreshes the page's table from "./?rows". A cell is changed in place; a row moves only when its place changes.
// The exporter sends the text of each cell. Only events per second are computed here, from two refreshes.
(() => {
  const REFRESH = 5000;
  const ttl = Number(document.body.dataset.ttl);
  const mostRows = Number(document.body.dataset.mostRows);
  const element = (id) => document.getElementById(id);
  const headings = [...document.querySelectorAll("#nodes thead th")];
  const tbody = document.querySelector("#nodes tbody");
  const titles = new Map(headings.map((heading) => [heading.dataset.key, heading.textContent]));

  const columns = new Map(headings.map((heading, position) => [heading.dataset.key, position]));
  const number = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1, roundingMode: "halfEven" });
  const shownId = (node) => node.texts[columns.get("node_id")];

  let nodes = null; // offline nodes first; null while they are unknown
  let sortKey = null;
  let descending = false;
  const rows = new Map(); // by node id
  let beats = new Map(); // by node id: the last beat's time, its events, and the events per second since the beat before

  // A node writes every ten seconds. So its rate is computed between two beats, and not between two refreshes.
  const withRates = (fresh) => {
    const now = performance.now() / 1000;
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
      if (beat.rate !== null) node.texts[columns.get("events_per_second")] = number.format(beat.rate);
    }
    return fresh;
  };

  const compareTexts = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const compare = (a, b) => {
    if (sortKey === null) return 0; // the exporter's order
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
      .filter((node) => (!state || node.state === state) && (!wanted || shownId(node).toLowerCase().includes(wanted)))
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
      node.texts.forEach((text, position) => set(row.children[position], text));
      if (row === next) next = next.nextElementSibling;
      else tbody.insertBefore(row, next);
    }
    const more = matching.length - shown.length;
    element("more").hidden = !more;
    set(element("more"), more ? `${number.format(more)} more nodes are not shown: filter to find them.` : "");
    element("none").hidden = nodes.length > 0;
    set(element("shown"), wanted || state ? `${number.format(matching.length)} of ${number.format(nodes.length)} nodes` : "");
  };

  const showTrouble = (message) => {
    element("trouble").hidden = !message;
    set(element("trouble"), message);
  };
  const showNotices = (notices) => {
    const box = element("notices");
    box.hidden = !notices.length;
    const shown = [...box.children].map((paragraph) => paragraph.textContent);
    if (shown.length === notices.length && shown.every((text, position) => text === notices[position])) return;
    box.replaceChildren(
      ...notices.map((text) => {
        const paragraph = document.createElement("p");
        paragraph.textContent = text;
        return paragraph;
      }),
    );
  };
  const showState = (up, redis = up ? "Redis answers" : "Redis cannot be read") => {
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

  const clearTable = () => {
    nodes = null;
    rows.clear();
    tbody.replaceChildren();
    element("none").hidden = element("more").hidden = true;
    set(element("shown"), "");
  };

  const showEvents = (html) => {
    const section = element("events");
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    const open = [...section.querySelectorAll("details[open]")].map((details) => details.dataset.id);
    for (const details of fresh.querySelectorAll("details")) details.open = open.includes(details.dataset.id);
    if (fresh.innerHTML === section.innerHTML) return;
    const focused = document.activeElement?.parentElement?.dataset.id;
    section.replaceChildren(...fresh.childNodes);
    section.hidden = false;
    if (focused) section.querySelector(`details[data-id="${focused}"] summary`)?.focus();
  };

  const refresh = async () => {
    const answer = await fetch("./?rows", { cache: "no-store" });
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    const { redis_up: up, trouble, notices, read, events, nodes: fresh } = await answer.json();
    if (up) {
      nodes = withRates(fresh);
      draw();
    } else {
      clearTable();
    }
    document.body.classList.remove("stale");
    showState(up);
    showTrouble(trouble);
    showNotices(notices);
    showEvents(events);
    set(element("read"), `Read at ${read}`);
  };
  const refreshPushed = async () => {
    const section = element("pushed");
    if (!section) return;
    const answer = await fetch("./", { cache: "no-store" });
    const fresh = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("pushed");
    if (fresh && fresh.innerHTML !== section.innerHTML) section.replaceChildren(...fresh.childNodes);
  };
  let allPortfolios = false;
  const showPortfolios = (html) => {
    const section = element("portfolios");
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    const button = fresh.querySelector("#portfolios-all");
    if (button) button.hidden = false;
    section.hidden = !button;
    if (fresh.innerHTML === section.innerHTML) return;
    const focused = document.activeElement?.id;
    section.replaceChildren(...fresh.childNodes);
    if (focused === "portfolios-all") element(focused)?.focus();
  };
  const refreshPortfolios = async () => {
    const answer = await fetch(`./?portfolios=${allPortfolios ? "all" : "faults"}`, { cache: "no-store" });
    if (answer.ok) showPortfolios(await answer.text());
  };
  let timer = null; // null while a refresh is running
  const keepCurrent = async () => {
    clearTimeout(timer);
    timer = null;
    if (!document.hidden) {
      try {
        await refresh();
        await refreshPushed();
        await refreshPortfolios();
      } catch (error) {
        showState(false, "No answer from the exporter");
        showTrouble(`The exporter does not answer (${error.message}). The table is out of date.`);
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
      // The first click sorts upwards, the second downwards, the third puts offline nodes first again.
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
  element("portfolios").addEventListener("click", (event) => {
    if (event.target.id !== "portfolios-all") return;
    allPortfolios = !allPortfolios;
    refreshPortfolios().catch(() => {}); // the next refresh says so
  });
  showPortfolios(element("portfolios").innerHTML);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && timer !== null) keepCurrent();
  });
  keepCurrent();
})();
