"use strict";
// Not inline: the page's content security policy allows scripts of this host's files only.
window.addEventListener("load", () => {
  window.ui = SwaggerUIBundle({
    url: document.body.dataset.document,
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
  });
});
