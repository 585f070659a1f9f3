import * as postbus from "/postbus.js";
window.postbus = postbus;
