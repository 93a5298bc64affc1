
"use strict";
// Only what helps: the page is whole without it. No markup is ever made of a text.
(() => {
  const tree = document.getElementById("task-tree");
  const folds = () => [...document.querySelectorAll("details")];
  addEventListener("beforeprint", () => folds().forEach((one) => { one.open = true; }));
  if (!tree) return;
  const make = (name, text) => {
    const one = document.createElement(name);
    one.textContent = text;
    return one;
  };
  const button = (text, open) => {
    const one = make("button", text);
    one.type = "button";
    one.addEventListener("click", () => tree.querySelectorAll("details").forEach((each) => { each.open = open; }));
    return one;
  };
  const label = make("label", "Show only tasks with ");
  const field = document.createElement("input");
  field.type = "search";
  label.append(field);
  const told = make("span", "");
  told.setAttribute("role", "status");
  const filter = () => {
    const wanted = field.value.trim().toLowerCase();
    let count = 0;
    const look = (item) => {
      const head = item.querySelector("summary, .leaf").textContent.toLowerCase();
      const id = (item.querySelector(":scope > details > .details code") || item).textContent.toLowerCase();
      const own = head.includes(wanted) || id.startsWith(wanted);
      const below = [...item.querySelectorAll(":scope > details > ul > li")].map(look).some(Boolean);
      if (own) count += 1;
      item.hidden = !(own || below);
      if (wanted) { if (below) item.firstElementChild.open = true; }
      return own || below;
    };
    [...tree.children].forEach(look);
    told.textContent = wanted ? count + " found" : "";
  };
  field.addEventListener("input", filter);
  const tools = make("div", "");
  tools.className = "tools";
  tools.append(label, button("Open all", true), button("Close all", false), told);
  tree.before(tools);
})();
