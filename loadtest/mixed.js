// k6: what a day looks like. LOAD_URL, LOAD_TOKENS (a file), LOAD_SECONDS, LOAD_CONNECTIONS.
import http from 'k6/http';
import { check } from 'k6';

const lines = (name) => open(name).split('\n').filter((line) => line !== '');
const valid = lines(__ENV.LOAD_TOKENS);
const forged = lines(__ENV.LOAD_FORGED);
const other = lines(__ENV.LOAD_OTHER);
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const bearer = (token) => ({ headers: { Authorization: `Bearer ${token}` } });
const liens = `${__ENV.LOAD_URL}/v1/vehicles/1HGCM82633A004352/liens`;

export const options = {
  insecureSkipTLSVerify: true,
  vus: Number(__ENV.LOAD_CONNECTIONS),
  duration: `${__ENV.LOAD_SECONDS}s`,
  thresholds: { checks: ['rate==1'] },
};

export default function () {
  const dice = Math.random();
  const [url, params, status] =
    dice < 0.7 ? [liens, bearer(pick(valid)), 200]
    : dice < 0.8 ? [liens, bearer(pick(forged)), 401]
    : dice < 0.9 ? [liens, bearer(pick(other)), 403]
    : dice < 0.95 ? [`${__ENV.LOAD_URL}/nothing/here`, bearer(pick(valid)), 404]
    : [`${__ENV.LOAD_URL}/healthz`, {}, 200];
  check(http.get(url, params), { 'the status it should be': (answer) => answer.status === status });
}
