// Lets the flow import its packages from a folder outside the checkout.
//
// Owns: the answer to "where is matrix-js-sdk?". Must never touch how the packages find each other.
// Packages lie in HEARTH_FLOW_MODULES/node_modules, installed by run.sh; a bare import made by a file of this flow is
// resolved as if that file lay beside them. Load with `node --import`.

import { registerHooks } from "node:module";
import { pathToFileURL } from "node:url";

const here = new URL(".", import.meta.url).href;
const modules = process.env.HEARTH_FLOW_MODULES;

if (modules) {
    const beside = pathToFileURL(`${modules}/flow.js`).href;
    registerHooks({
        resolve(specifier, context, next) {
            const bare = !/^(\.|\/|node:|file:|data:)/.test(specifier);
            return next(specifier, bare && context.parentURL?.startsWith(here) ? { ...context, parentURL: beside } : context);
        },
    });
}
