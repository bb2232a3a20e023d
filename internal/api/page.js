// The page is whole without this: it then loads itself again every ten seconds.
"use strict";
const view = document.getElementById("view");
const live = new EventSource("/live");
live.addEventListener("view", (e) => { view.innerHTML = e.data; view.className = ""; });
live.onerror = () => { view.className = "stale"; }; // what is shown grows old
