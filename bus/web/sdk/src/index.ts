// This file is what a page imports.

import { PostBus } from "./bus";
import type { Bus, Options } from "./types";

export * from "./types";

/**
 * Connects to the bus that served this script, or to options.url. Resolves also when the bus cannot be
 * reached now: then bus.status() reports it, and it keeps trying. Rejects when the bus refuses the login.
 */
export async function connect(options: Options = {}): Promise<Bus> {
  const bus = new PostBus(options);
  await bus.start();
  return bus;
}
