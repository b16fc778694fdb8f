// DataScript on Node. Attributes are strings, as its JavaScript interface has them.
"use strict";

const fs = require("fs");
const readline = require("readline");
const datascript = require("datascript");

const ATTRIBUTES = ["id", "name", "last-name", "sex", "age", "salary"];
const SCHEMA = {
  id: { ":db/unique": ":db.unique/identity" },
  name: { ":db/index": true },
  "last-name": { ":db/index": true },
  salary: { ":db/index": true },
  follows: { ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many" },
};
const PARENTS = 100;
const PER_RUN = 1000;

const databases = new Map();

// Attributes and values that are keywords in the EDN become strings; `:find` and its kin stay.
function asStrings(edn) {
  return edn.replace(/:(id|name|last-name|sex|age|salary|follows|male|female)(?![\w-])/g, '"$1"');
}

function load(path) {
  const { name, people, follows } = JSON.parse(fs.readFileSync(path, "utf8"));
  const entities = people.map((person) => {
    const entity = { ":db/id": person[0] };
    ATTRIBUTES.forEach((attribute, place) => (entity[attribute] = person[place]));
    return entity;
  });
  const edges = follows.map(([one, other]) => [":db/add", one, "follows", other]);
  const began = process.hrtime.bigint();
  databases.set(name, datascript.db_with(datascript.empty_db(SCHEMA), entities.concat(edges)));
  return { seconds: since(began) };
}

function since(began) {
  return Number(process.hrtime.bigint() - began) / 1e9;
}

function prepare(work, name) {
  const db = databases.get(name);
  const text = asStrings(work.datalog);
  if (work.kind === "query") {
    const inputs = (work.rules ? [asStrings(work.rules)] : []).concat(work.inputs);
    return () => datascript.q(text, db, ...inputs).length;
  }
  const one =
    work.kind === "entid"
      ? (id) => datascript.entity(db, ["id", id]).get(":db/id")
      : (id) => datascript.pull(db, text, id);
  return () => {
    const found = [];
    for (let read = 0; read < PER_RUN; read++) found.push(one(1 + (read % PARENTS)));
    return found.length;
  };
}

function run(message) {
  const work = prepare(message.run, message.on);
  const seconds = [];
  let rows = 0;
  const start = process.hrtime.bigint();
  while (seconds.length < message.least || since(start) < message.for) {
    const began = process.hrtime.bigint();
    rows = work();
    seconds.push(since(began));
  }
  return { seconds, rows };
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  let answer;
  try {
    const message = JSON.parse(line);
    answer = "load" in message ? load(message.load) : run(message);
  } catch (error) {
    answer = { error: String(error) };
  }
  fs.writeSync(1, JSON.stringify(answer) + "\n");
});
