// Applies the colours that the reader chose before anything is drawn. A plain script, since modules run after the first paint.
try {
  const theme = localStorage.getItem("frazil.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* Without storage the page follows the system. */ }
