// This file stands for Node's process where MQTT.js and readable-stream ask for it. nextTick must not be a
// timer: those are throttled in a hidden tab.
exports.nextTick = (f, ...args) => queueMicrotask(() => f(...args));
exports.env = {};
exports.browser = true;
exports.version = "v20";
