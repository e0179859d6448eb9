// Dark or light as the reader chose, before anything is drawn. Not a module: it must not come late.
{
  const chosen = localStorage.getItem("queuectl-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
}
