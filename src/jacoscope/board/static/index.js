// Where TensorBoard begins: it calls render() in an empty frame.

import { Page } from "./page.js";

export async function render() {
  document.documentElement.lang = "en";
  document.title = "Jacobians";
  const sheets = ["theme.css", "jacobian.css", "tab.css"].map((name) => {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = name;
    document.head.appendChild(sheet);
    return new Promise((done) => { sheet.onload = sheet.onerror = done; });
  });
  await Promise.all(sheets);
  try {
    await new Page(document.body).start();
  } catch (error) {
    document.body.textContent = `The tab Jacobians could not start: ${error.message}`;
    throw error;
  }
}
