// Shapes of the API, made by tests/pages/js/api_types.py; not to be changed by hand.

export interface Activations {
  tokens: Array<string>;
  looked_at: Array<boolean>;
  active: number;
  latents: Record<string, Array<number>>;
  maxima: Record<string, number>;
  labels: Record<string, string>;
  costs?: Array<number | null> | null;
}

export interface ActivationsOf {
  text: string;
  latents?: Array<number> | null;
  limit: number;
  without?: number | null;
}

export interface Asked {
  run?: string | null;
  text?: string | null;
  messages?: Array<Turn> | null;
}

export interface AskedAttention {
  run?: string | null;
  text?: string | null;
  messages?: Array<Turn> | null;
  position: number;
  at: number;
  target?: number | string | null;
  foil?: number | string | null;
  head?: [number, number] | null;
  weighted: boolean;
}

export interface AskedAttribution {
  run?: string | null;
  text?: string | null;
  messages?: Array<Turn> | null;
  position: number;
  at: number;
  target?: number | string | null;
  foil?: number | string | null;
  methods?: Array<string> | null;
  players: "tokens" | "words" | "sentences" | "messages";
  removal?: "twin" | "mean" | "zero" | "unknown" | "mask" | null;
  twin?: string | null;
}

export interface AskedBaselines {
  prompt?: string | null;
  messages?: Array<Turn> | null;
  run?: string | null;
  steering: Record<string, any>;
  seed: number;
}

export interface AskedCosts {
  prompt?: string | null;
  messages?: Array<Turn> | null;
  run?: string | null;
  steerings: Array<Record<string, any> | null>;
}

export interface AskedFeatures {
  run?: string | null;
  text?: string | null;
  messages?: Array<Turn> | null;
  position: number;
  at: number;
  target?: number | string | null;
  foil?: number | string | null;
}

export interface AskedFile {
  run?: string | null;
  steering: Record<string, any>;
}

export interface AskedHeld {
  prompt?: string | null;
  messages?: Array<Turn> | null;
  run?: string | null;
  steering: Record<string, any>;
  written: Array<number>;
  likely: number;
}

export interface AskedParts {
  run?: string | null;
  text?: string | null;
  messages?: Array<Turn> | null;
  position: number;
  at: number;
  target?: number | string | null;
  foil?: number | string | null;
  by: "layer" | "head" | "neuron" | "latent";
  most: number;
}

export interface AskedPrompt {
  run?: string | null;
  text?: string | null;
  messages?: Array<Turn> | null;
  top: number;
}

export interface AskedSteps {
  run?: string | null;
  text?: string | null;
  messages?: Array<Turn> | null;
  position: number;
  at: number;
  target?: number | string | null;
  foil?: number | string | null;
  temperature: number;
}

export interface AskedStrength {
  prompt?: string | null;
  messages?: Array<Turn> | null;
  run?: string | null;
  steering: Record<string, any>;
  kl: number;
}

export interface AskedWhy {
  run?: string | null;
  text?: string | null;
  messages?: Array<Turn> | null;
  position: number;
  at: number;
  target?: number | string | null;
  foil?: number | string | null;
  methods?: Array<string> | null;
  most: number;
}

export interface CausesOf {
  latent: number;
  figures: Record<string, Measured>;
  raised: Array<[string, number]>;
  lowered: Array<[string, number]>;
  absent: Record<string, string>;
  tokens: number;
  passages: number;
  others: Record<string, Array<number>>;
  drawn: Array<number>;
}

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface CircuitCard {
  name: string;
  title: string;
  edges: number;
  nodes: number;
  about: Record<string, any>;
  problem?: string | null;
}

export interface CircuitList {
  circuits: Array<CircuitCard>;
}

export interface ComparedMetric {
  metric: string;
  a: Measured;
  b: Measured;
  difference: Measured;
}

export interface Comparison {
  a: RunCard;
  b: RunCard;
  metrics: Array<ComparedMetric>;
}

export interface ComparisonAsked {
  run: string;
  concept: "sentiment" | "french" | "code" | "name";
  kl: Array<number>;
  chat: boolean;
  seeds: number;
  max_new_tokens: number;
  skill_prompts: number;
  seed: number;
}

export interface ErrorReply {
  error: Problem;
}

export interface Estimate {
  value: number;
  low: number;
  high: number;
  n: number;
  method: string;
}

export interface FeatureCauses {
  causes: CausesOf | null;
  circuits: Array<Place>;
}

export interface FeatureDetail {
  latent: number;
  alive: boolean;
  density: number | null;
  n_active: number;
  mean: number | null;
  mean_active: number | null;
  max: number | null;
  label: string;
  label_author: string;
  label_method: string;
  label_scorer: string;
  label_score: number | null;
  label_low: number | null;
  label_high: number | null;
  label_control: number | null;
  label_random: number | null;
  label_margin: number | null;
  share?: number | null;
  row: number;
  histogram: Record<string, any>;
  top_tokens: Array<[string, number | null]>;
  promoted: Array<[string, number | null]>;
  suppressed: Array<[string, number | null]>;
  position_profile: Array<number>;
  neighbours: Record<string, Array<Near>>;
  explanations: Array<Record<string, any>>;
  scores: Array<Record<string, any>>;
  votes: Array<Record<string, any>>;
  passages: Array<Passage>;
}

export interface FeatureList {
  run: string;
  total: number;
  of: number;
  offset: number;
  limit: number;
  mode: string;
  note?: string | null;
  waits: boolean;
  removed: Record<string, number>;
  features: Array<FeatureRow>;
}

export interface FeatureRow {
  latent: number;
  alive: boolean;
  density: number | null;
  n_active: number;
  mean: number | null;
  mean_active: number | null;
  max: number | null;
  label: string;
  label_author: string;
  label_method: string;
  label_scorer: string;
  label_score: number | null;
  label_low: number | null;
  label_high: number | null;
  label_control: number | null;
  label_random: number | null;
  label_margin: number | null;
  share?: number | null;
  top_tokens: Array<string>;
  promoted: Array<string>;
  spark: Array<number>;
  fit?: number | null;
  why?: string | null;
}

export interface GenerateRequest {
  run?: string | null;
  prompt?: string | null;
  messages?: Array<ChatMessage> | null;
  steerings: Array<Record<string, any> | null>;
  seed: number;
  temperature: number;
  top_k?: number | null;
  top_p?: number | null;
  max_new_tokens: number;
  stop: Array<string>;
  likely: number;
}

export interface JobList {
  jobs: Array<JobReply>;
}

export interface JobReply {
  id: string;
  kind: string;
  title: string;
  request: Record<string, any>;
  state: string;
  created: number;
  started: number | null;
  ended: number | null;
  done: number;
  total: number | null;
  said: string;
  error: string | null;
}

export interface JobRequest {
  kind: string;
}

export interface Kept {
  size: number;
  faithfulness: Estimate;
  random?: Estimate | null;
}

export interface LabelGiven {
  text: string;
  author: string;
}

export interface MapOfFeatures {
  column: string;
  log: boolean;
  label: string;
  x: [number, number];
  y: [number, number];
  areas: Array<[number, number, number, number]>;
  latent: Array<number>;
  density: Array<number>;
  height: Array<number>;
  margin: Array<number | null>;
  labels: Array<string>;
}

export interface MatchedFeatures {
  threshold: number;
  chance: number;
  above: number;
  of: number;
  pairs: Array<MatchedPair>;
  only: Array<NamedFeature>;
}

export interface MatchedPair {
  cosine: number;
  a: NamedFeature;
  b: NamedFeature;
}

export interface Measured {
  value: number;
  low: number | null;
  high: number | null;
  n?: number | null;
  method?: string | null;
}

export interface Metrics {
  lines: Array<Record<string, any>>;
  next: number;
  live: boolean;
}

export interface NamedFeature {
  latent: number;
  label: string;
  nearest?: number | null;
}

export interface Near {
  other: number;
  value: number;
}

export interface PartAsked {
  size: number;
  nodes: Array<string>;
}

export interface PartFigures {
  size: number;
  n: number;
  faithfulness?: Estimate | null;
  random?: Estimate | null;
  predicted?: number | null;
  measured?: Estimate | null;
  control?: Estimate | null;
  absent: string;
}

export interface Passage {
  kind: string;
  rank: number;
  document: number;
  position: number;
  peak: number;
  maximum: number;
  tokens: Array<string>;
  activations: Array<number>;
}

export interface Place {
  circuit: string;
  title: string;
  node: string;
  predicted: number | null;
  measured: Estimate | null;
  edges: Array<PlaceEdge>;
}

export interface PlaceEdge {
  other: string;
  label: string;
  latent: number | null;
  run: string | null;
  weight: number;
  into: boolean;
}

export interface Problem {
  message: string;
}

export interface RunCard {
  name: string;
  changed: number;
  problem?: string | null;
  title?: string | null;
  model?: string | null;
  site?: string | null;
  architecture?: string | null;
  n_latents?: number | null;
  features?: number | null;
  unit?: string | null;
  of_items: boolean;
  stages: Array<StageCard>;
  live: boolean;
  metrics: Record<string, Measured>;
}

export interface RunDetail {
  name: string;
  changed: number;
  problem?: string | null;
  title?: string | null;
  model?: string | null;
  site?: string | null;
  architecture?: string | null;
  n_latents?: number | null;
  features?: number | null;
  unit?: string | null;
  of_items: boolean;
  stages: Array<StageCard>;
  live: boolean;
  metrics: Record<string, Measured>;
  folder: string;
  evaluation?: Record<string, any> | null;
  scores: Array<Record<string, any>>;
  recipe: Record<string, any>;
  absent: Record<string, string>;
  position_buckets: Array<[number, number]>;
  sides?: [string, string] | null;
  searches: Record<string, string>;
  notes: Array<string>;
}

export interface RunList {
  total: number;
  offset: number;
  limit: number;
  runs: Array<RunCard>;
}

export interface ShownEdge {
  source: number;
  target: number;
  weight: number;
  name: string;
}

export interface ShownGraph {
  title: string;
  unit: "edges" | "nodes";
  n_layers: number;
  nodes: Array<ShownNode>;
  edges: Array<ShownEdge>;
  total: number;
  tokens: Array<string>;
  curve: Array<Kept>;
  about: Record<string, string | number | boolean>;
  notes: Array<string>;
}

export interface ShownNode {
  name: string;
  kind: string;
  layer: number;
  column?: number | null;
  label: string;
  latent?: number | null;
  run?: string | null;
  predicted?: number | null;
  measured?: Estimate | null;
}

export interface StageCard {
  name: string;
  state: string;
  seconds?: number | null;
}

export interface SweepAsked {
  prompt?: string | null;
  messages?: Array<Turn> | null;
  run: string;
  steering: Record<string, any>;
  strengths: Array<number>;
  seeds: number;
  seed: number;
  temperature: number;
  max_new_tokens: number;
  concept?: "sentiment" | "french" | "code" | "name" | null;
}

export interface Turn {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface VoteGiven {
  vote: number;
  voter: string;
  of?: string | null;
}
