// Before anything is painted: the colours that somebody chose here last.
{
  const chosen = localStorage.getItem("flow.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
