// Checks dashboards against Grafana's own types: node check.mjs VERSION FILE…
// Prints each violation and exits 1 if there is any. A field that the types do not know is a violation.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import Ajv from "ajv";
import { createGenerator } from "ts-json-schema-generator";

const here = dirname(fileURLToPath(import.meta.url));
const [version, ...files] = process.argv.slice(2);

const folder = mkdtempSync(join(here, "node_modules", ".check-"));
let schema;
try {
  const source = join(folder, "dashboard.ts");
  const types = readFileSync(join(here, "dashboard.ts"), "utf8");
  writeFileSync(source, types.replaceAll("./node_modules", "..").replaceAll("VERSION", version));
  const own = join("..", "@grafana", `schema-${version}`, "dist", "esm");
  const tsconfig = join(folder, "tsconfig.json");
  writeFileSync(
    tsconfig,
    JSON.stringify({
      compilerOptions: {
        strict: true,
        module: "esnext",
        moduleResolution: "bundler",
        skipLibCheck: true,
        baseUrl: ".",
        paths: { "@grafana/schema": [join(own, "index.d.ts")] },
      },
      files: ["dashboard.ts"],
    }),
  );
  schema = createGenerator({
    path: source,
    tsconfig,
    type: "ClassicDashboard",
    additionalProperties: false,
    expose: "none",
    skipTypeCheck: true,
  }).createSchema("ClassicDashboard");
} finally {
  rmSync(folder, { recursive: true });
}

// Every panel is tried against the types of all kinds of panel. Only the violations of its own kind's type count.
const branch = ({ instancePath, schemaPath }) =>
  `${instancePath.split("/").slice(0, 3)} ${schemaPath.match(/^.*?anyOf\/\d+/)?.[0]}`;

const validate = new Ajv({ allErrors: true, strict: false }).compile(schema);
let wrong = false;
for (const file of files) {
  if (validate(JSON.parse(readFileSync(file, "utf8")))) continue;
  wrong = true;
  const ofAnotherKind = new Set(validate.errors.filter((error) => error.schemaPath.endsWith("/type/const")).map(branch));
  for (const error of validate.errors) {
    if (ofAnotherKind.has(branch(error)) || error.keyword === "anyOf") continue;
    console.log(`${file}${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`);
  }
}
process.exit(wrong ? 1 : 0);
