// Puts a chosen file into the field that is sent. Without this script people paste it.
"use strict";

(() => {
  const field = document.getElementById("from-file");
  const text = document.getElementById("text");
  if (!field || !text) return;
  field.hidden = false;
  field.querySelector("input").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file) text.value = await file.text();
  });
})();
