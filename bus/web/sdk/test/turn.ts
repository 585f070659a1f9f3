// This file waits for work that is queued in the event loop, however busy the machine is.

/** Lets ms milliseconds pass, then the event loop come round often enough for promises and messages. */
export async function turn(ms = 2): Promise<void> {
  await new Promise((r) => setTimeout(r, ms));
  for (let i = 0; i < 50; i++) await new Promise((r) => setImmediate(r));
}
