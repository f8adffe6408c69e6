// What the page asks the server. Every answer is JSON; a refusal becomes an Error with the server's sentence and status.

export async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error("The server no longer answers. Start it again with the same command.");
  }
  const answer = await response.json().catch(() => ({ error: `${address}: the answer cannot be read. Reload this page.` }));
  if (answer.error) throw Object.assign(new Error(answer.error), { status: response.status });
  return answer;
}

export const model = () => ask("model");

export function landmarks(blob, name, box, search) {
  const query = new URLSearchParams(search ? { name } : { name, refine: "0" });
  if (box) query.set("box", box.join(","));
  return post(`landmarks?${query}`, "application/octet-stream", blob);
}

export const styles = (shape, turn) => post("styles", "application/json", JSON.stringify({ shape, turn }));

const post = (address, type, body) => ask(address, { method: "POST", headers: { "Content-Type": type }, body });

export async function sample(index) {
  return (await fetch(`samples/${index}`)).blob();
}
