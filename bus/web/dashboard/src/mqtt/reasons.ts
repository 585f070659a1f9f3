// This file is texts for MQTT's reason codes, used if the bus sent no reason string.

const words: Record<number, string> = {
  0x80: "unspecified error",
  0x81: "malformed packet",
  0x82: "protocol error",
  0x83: "the bus does not accept this",
  0x84: "this version of MQTT is not supported",
  0x85: "the client identifier is not valid",
  0x86: "user or password is wrong",
  0x87: "not authorized",
  0x88: "the bus is not available",
  0x89: "the bus is busy",
  0x8b: "the bus is shutting down",
  0x8d: "keep alive timeout",
  0x8e: "another client took the session over",
  0x8f: "the topic filter is not valid",
  0x95: "the packet is too large",
  0x97: "a quota is exceeded",
  0x98: "an administrator ended the connection",
};

export function reasonOf(code: number, reason: string): string {
  return reason || words[code] || `reason code 0x${code.toString(16)}`;
}

// wantsLogin reports whether other credentials could help.
export function wantsLogin(code: number): boolean {
  return code === 0x86 || code === 0x87;
}
