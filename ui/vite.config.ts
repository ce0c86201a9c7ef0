import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

/** Where a running `weir query` or `weir demo` is, for `npm run dev`. */
const service = process.env.WEIR_HTTP ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [svelte()],
  // Small images as `data:` would need a wider content security policy.
  build: { outDir: "dist/app", assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2023" },
  server: { proxy: { "/api": service, "/openapi.json": service } },
  resolve: process.env.VITEST ? { conditions: ["browser"] } : undefined,
  test: { environment: "jsdom", include: ["src/**/*.test.ts"] },
});
