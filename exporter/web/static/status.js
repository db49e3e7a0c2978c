"use strict";
// Keeps the page current: it asks for the page that the address names, and changes what is different in its main part.
(() => {
  const REFRESH = 5000;
  const TYPING = 250;
  const page = document.getElementById("page");
  const controls = () => document.getElementById("controls");

  // Rows and events have a key, so they move as wholes; whatever is open, focused or typed stays so.
  const key = (node) => node.dataset?.id;
  const change = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const keyed = new Map([...old.children].filter(key).map((child) => [key(child), child]));
    let next = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const alike = next && !key(next) && next.nodeName === child.nodeName ? next : null;
      const same = key(child) ? keyed.get(key(child)) : alike;
      if (!same) {
        old.insertBefore(child, next);
        continue;
      }
      if (same === next) next = next.nextSibling;
      else old.insertBefore(same, next);
      if (same.nodeType === Node.ELEMENT_NODE) change(same, child);
      else if (same.data !== child.data) same.data = child.data;
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
  };

  const refresh = async () => {
    const address = location.search;
    const answer = await fetch(`./${address}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("page");
    if (address !== location.search) return; // the reader wants something else meanwhile
    change(page, fresh);
    document.body.classList.remove("stale");
    document.title = page.dataset.title;
    document.getElementById("read").textContent = page.dataset.read;
  };

  let timer = null;
  const keepCurrent = async () => {
    clearTimeout(timer);
    timer = null;
    if (!document.hidden) {
      try {
        await refresh();
      } catch (error) {
        const trouble = document.getElementById("trouble");
        trouble.hidden = false;
        trouble.textContent = `The page cannot be refreshed (${error.message}) and is out of date.`;
        const redis = document.getElementById("redis");
        redis.className = "down";
        redis.textContent = "The page cannot be refreshed";
        document.title = "Out of date · ginkgo-exporter";
        document.body.classList.add("stale");
      }
    }
    clearTimeout(timer);
    timer = setTimeout(keepCurrent, REFRESH);
  };
  const go = (address) => {
    history.replaceState(null, "", address || ".");
    keepCurrent();
  };

  page.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='?']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });
  const wanted = () => {
    const filled = [...new FormData(controls())].filter(([, value]) => value);
    return filled.length ? `?${new URLSearchParams(filled)}` : "?";
  };
  let typing = null;
  page.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => go(wanted()), TYPING);
  });
  page.addEventListener("submit", (event) => {
    event.preventDefault();
    go(wanted());
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && timer !== null) keepCurrent();
  });
  timer = setTimeout(keepCurrent, REFRESH);
  document.documentElement.classList.add("live");
})();
