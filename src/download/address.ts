/**
 * Which addresses may be asked. Only global unicast ones, by the IANA special-purpose registries as ipaddr.js holds them, so that no
 * list and no redirect reaches a service of this machine, its network or its cloud (OWASP, Server-Side Request Forgery).
 */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

export interface AddressPolicy {
  /** @param address IPv4 or IPv6 as text; anything else is refused */
  allows(address: string): boolean;
}

/** Unicast addresses by the registries that are none to a crawler: Azure's WireServer, and IPv4-compatible IPv6 (RFC 4291, 2.5.5.1). */
const ALSO_REFUSED = ['168.63.129.16/32', '::/96'].map((range) => ipaddr.parseCIDR(range));

/** @param allowPrivate networks in CIDR notation that may be asked all the same; IPv4 ones also when mapped into IPv6 */
export function createAddressPolicy(allowPrivate: readonly string[]): AddressPolicy {
  const allowed = allowPrivate.map((range) => ipaddr.parseCIDR(range));
  return {
    allows: (text) => {
      if (isIP(text) === 0 || !ipaddr.isValid(text)) return false; // ipaddr.js takes 1.2.3 for an address too
      const address = ipaddr.process(text); // ::ffff:127.0.0.1 is 127.0.0.1
      const isIn = (ranges: typeof allowed): boolean => ranges.some(([base, bits]) => base.kind() === address.kind() && address.match(base, bits));
      return isIn(allowed) || (address.range() === 'unicast' && !isIn(ALSO_REFUSED));
    },
  };
}
