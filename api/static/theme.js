// Applies the colours chosen last time, before anything is drawn.
{
  const chosen = localStorage.getItem("flow.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
