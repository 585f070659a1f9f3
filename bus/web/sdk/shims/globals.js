// This file is what Node has as globals, for the packages that expect them. Nothing is put on the page.
export { Buffer } from "buffer";
export * as process from "./process.js";
