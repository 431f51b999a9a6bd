// Keyboard shortcuts for all actions; none while the user types in a field.

const TYPING = new Set(["INPUT", "SELECT", "TEXTAREA"]);

export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    if (event.key === "Escape") {
      if (TYPING.has(target.tagName)) target.blur();
      else if (!document.querySelector("dialog[open]")) actions.Escape();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    const slider = target.type === "range";
    if (TYPING.has(target.tagName) && !slider) return;
    // A focused button handles the space bar itself; the time slider handles the arrow keys.
    if (event.key === " " && target.tagName === "BUTTON") return;
    if (slider && event.key.startsWith("Arrow")) return;
    const name = event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key;
    const action = actions[name.length === 1 ? name.toLowerCase() : name];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
