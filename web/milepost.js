// Generated from web/milepost/ by `node sdks/typescript/bundle.js`. Do not edit.
var u=r=>["completed","failed","cancelled"].includes(r.status);function d(r,t){let[s,e]=t.split("-"),[i,n]=(r??"").split(
"-");return s!==i||!e||!n?NaN:n.length-e.length||(n<e?-1:+(n>e))}function f(r){try{let t=JSON.parse(r);return typeof t=="object"?t:null}catch{return null}}var R=6e5;function I(r,t,s,e){if([1e3,1002,1007,1009].includes(r)||r>=4400&&r<4500)return null;if(r===1011)return 1e3+e*
4e3;let i=r===1012||r===1013?f(t)?.retry_ms:void 0;return i>=0?Math.min(i,R):e*Math.min(3e4,1e3*2**Math.min(s,10))}var j=({
headers:r})=>Math.min(Number(r.get("retry-after"))*1e3*(1+Math.random())||0,R);var g=1e4,z=3,J=100,Y=250,L=0,C=4404,m=()=>performance.now(),S=class{#t=new Map;#s=0;#n=0;#e=0;#i="connecting";#o="";#r=!1;#a=0;#l=0;#c=null;#f=null;#p=!1;#w=0;#u={};constructor(t,s,e){
this.base=t.replace(/^ws/,"http").replace(/\/+$/,""),this.token=s,this.notify=e}watch(t,s,e){this.#S(t),this.#t.set(t,{since:s,
pace:e}),this.#h(" rest"),this.#f?this.#N(t):this.#p?this.#M(t):!this.#c&&!this.#u[" retry"]&&this.#m()}unwatch(t){this.#S(
t),this.#t.delete(t)&&(this.#g({type:"unsubscribe",job_id:t}),this.#t.size||this.#h(" rest",100,()=>this.close()))}probe(){
if(this.#f)return this.#x(3e3);!this.#u[" retry"]&&!this.#p||(this.#n=this.#e=this.#s=0,this.#E(),this.#m())}close(){this.#t.
clear(),this.#E(),this.#d("connecting")}#m(){if(this.#h(" retry"),!!this.#t.size){if(!this.#s&&!globalThis.WebSocket&&(this.#s=
1),!this.#s)return this.#_();this.#p=!0;for(let t of this.#t.keys())this.#M(t)}}#_(){let t=new URLSearchParams(this.token?
{token:this.token}:{}),s;try{s=new WebSocket(`${this.base.replace(/^http/,"ws")}/ws?${t}`)}catch(n){return this.#b(4400,
String(n))}let e=()=>{this.#h(" greeting"),this.#h(" blocked"),s.onclose=s.onerror=s.onmessage=null,s.close(),this.#c=this.#f=
null},i=(n,o)=>{e(),this.#p?this.#R():this.#b(n,o)};this.#c=e,this.#o="",this.#h(" greeting",g,()=>i(1006,"")),s.onclose=
n=>i(n.code,n.reason),s.onerror=()=>this.#h(" blocked",J,()=>{this.#s=1,i(L,"")}),s.onmessage=n=>{this.#l=m(),this.#h(" \
dead");let o=f(n.data);if(typeof o?.position=="string")return this.#y(o);if(this.#A(o?.timestamp),o?.type==="connected"){
this.#h(" greeting"),this.#I(),this.#f=s,this.#s=0,this.#r=!0,this.#v();for(let h of this.#t.keys())this.#N(h);this.#j()}else
o?.type==="subscribed"?this.#k(o.job_id,o.known):o?.type==="error"&&this.#L(o)}}#j(){this.#h(" listen",2500,()=>{m()-this.#l>
g&&this.#x(5e3),this.#j()})}#x(t){this.#u[" dead"]||(this.#g({type:"ping"}),this.#h(" dead",t,()=>this.#b(1006,"")))}#N(t){
let s=this.#t.get(t);this.#g({type:"subscribe",job_id:t,since:s?.since,...s?.pace})}#g(t){this.#f?.send(JSON.stringify(t))}#A(t){
let s=Date.parse(t??"")-Date.now();Math.abs(s-this.#a)>=Y&&(this.#a=s,this.notify({t:"clock",skew:s}))}#y(t){let s=this.#t.
get(t.job_id);s&&(d(s.since,t.position)>0||(s.since=t.position),this.notify({t:"state",job:t.job_id,state:t}))}#k(t,s){s===
!1&&this.#t.has(t)&&this.notify({t:"unknown",job:t})}#L({problem:t,message:s="",job_id:e=""}){this.#t.has(e)?/^invalid/.
test(t??"")?this.#O(e,s):this.#M(e):this.#o=s}#O(t,s){this.unwatch(t),this.notify({t:"rejected",job:t,reason:s})}async#M(t){
let s=this.#t.get(t);if(s)for(;;){let e=s.stop=new AbortController,i=h=>this.#h(t,h,()=>e.abort()),n=this.#w<z;this.#w+=
Number(n);let o=0;try{i(2*g),n&&this.#s===1&&!s.ended?await this.#T(t,s,e.signal,i):o=await this.#P(t,s,e.signal,n)}catch(h){
let{code:c,reason:a=""}=h;if(s.stop!==e)return;if(c===4400)return this.#O(t,a);if(!this.#f)return this.#b(c,a);o=Math.max(
5e3,f(a)?.retry_ms||0)}finally{this.#w-=Number(n)}if(s.stop!==e)return;await new Promise(h=>this.#h(t,o,()=>h(null)))}}#S(t){
let s=this.#t.get(t);this.#h(t),s?.stop?.abort(),s&&(s.stop=void 0)}async#$(t,s,e={}){this.token&&(e.authorization=`Bear\
er ${this.token}`);let i=await fetch(`${this.base}/jobs/${t}`,{headers:e,signal:s,cache:"no-store"}),{ok:n,status:o}=i;if(this.#C(
i),this.#a||this.#A(i.headers.get("date")),n||o===304||o===404)return i;let h=j(i);if(h)throw{code:1013,reason:`{"retry_\
ms":${h}}`};let c=f(await i.text())?.detail;throw{code:[400,401,403].includes(o)?4400:1006,reason:c}}#C({ok:t,status:s,url:e,
headers:i}){let n=i.get("content-type")??"";if(this.#r||=(t?/json|event-stream/:/problem.json/).test(n)||s===204||s===304,
!(this.#r||!(t||s===404)))throw{code:C,reason:`no Milepost server at ${this.base}: ${e} answered ${s} ${n}`.trim()}}async#T(t,s,e,i){
let n=Object.entries({since:s.since,...s.pace}).filter(([,E])=>E),o=`${encodeURIComponent(t)}/events?${new URLSearchParams(
n)}`,{body:h,status:c}=await this.#$(o,e);if(s.ended=c===204,s.ended)return;if(c===404||!h)throw{};let a=h.pipeThrough(new TextDecoderStream).
getReader(),[l,p,A,O]=["","",2*g,m()];for(;!s.ended;){let{done:E,value:W}=await a.read();if(e.aborted||E||l.length>1e7)throw{
code:1012,reason:p};let $=(l+W).split(`

`);l=$.pop()??"";for(let B of $){this.#v();let w=Object.fromEntries(B.split(`
`).map(G=>G.split(/: ?(.*)/))),_=f(w.data);w.retry&&(p=`{"retry_ms":${w.retry}}`),_?w.event==="end"?s.ended=!0:w.event?this.#k(
t,_.known):this.#y(_):A=Math.max(5e3,m()-O)}O=m(),i(3*A)}}async#P(t,s,e,i){let n=m(),o=i&&this.#i==="open"?15:0,h=`${encodeURIComponent(
t)}?wait=${o}`,c=await this.#$(h,e,s.since?{"if-none-match":`"${s.since}"`}:{}),{status:a}=c,l=a===200&&await c.json();this.#p&&
this.#v(),a===404&&this.#k(t,!1),l&&(s.ended=u(l),this.#y(l));let p=i?1e3/(s.pace.max_rate??2):Math.max(2e3,100*this.#t.
size);return Math.max(p+n-m(),j(c))}#v(){this.#n=0,this.#d("open"),this.#u[" stable"]||this.#h(" stable",5e3,()=>this.#e=
0),this.#p&&this.#R()}#R(){this.#u[" climb"]||this.#c||!globalThis.WebSocket||this.#h(" climb",3*g,()=>this.#_())}#b(t,s){
let e=this.#i!=="open";if(this.#E(),t===L)return this.#m();e&&++this.#n===2&&(this.#n=0,this.#s=(this.#s+1)%3);let i=I(t,
s,this.#e,Math.random());if(this.#e+=1,t===C)return this.#d("failed",s);if(i===null)return this.#d("closed",this.#o||s);
this.#d("connecting"),this.#h(" retry",i,()=>this.#m())}#E(){for(let t of Object.keys(this.#u))this.#h(t);this.#c?.(),this.#I()}#I(){
this.#p=!1,this.#h(" climb");for(let t of this.#t.keys())this.#S(t)}#h(t,s,e){clearTimeout(this.#u[t]),delete this.#u[t],
e&&(this.#u[t]=setTimeout(()=>{delete this.#u[t],e()},s))}#d(t,s=""){t!==this.#i&&(this.#i=t,this.notify({t:"connection",
connection:t,reason:s}))}};var b=class{#t=new Map;#s=new Set;#n={t:"connection",connection:"connecting",reason:""};#e=null;constructor(t,s){this.session=
new S(t,s,e=>this.#a(e))}receive(t,s){s.t==="open"?(this.#s.add(t),t(this.#n),this.#e&&t(this.#e),s.lock&&navigator.locks.
request(s.lock,()=>this.#r(t))):s.t==="watch"?this.#i(t,s):s.t==="unwatch"?this.#o(s.job,s.key):s.t==="probe"?this.session.
probe():this.#r(t)}#i(t,{key:s,job:e,since:i,pace:n}){let o=this.#t.get(e)??{subscribers:new Map,pace:"",last:void 0};this.#t.
set(e,o),o.subscribers.set(s,{port:t,pace:n});let h=X(o.subscribers),c=JSON.stringify(h),{last:a}=o;if(a&&t(a),a?.t!=="s\
tate")this.session.watch(e,o.subscribers.size>1?void 0:i,h);else{let{position:l}=a.state,p=d(i,l)<0;(p||o.pace!==c)&&this.
session.watch(e,p?i:l,h)}o.pace=c}#o(t,s){let e=this.#t.get(t);!e?.subscribers.delete(s)||e.subscribers.size||(this.#t.delete(
t),this.session.unwatch(t))}#r(t){this.#s.delete(t);for(let[s,e]of this.#t)for(let[i,n]of e.subscribers)n.port===t&&this.#o(
s,i)}#a(t){let s=this.#s;if(t.t==="connection")this.#n=t;else if(t.t==="clock")this.#e=t;else{let e=this.#t.get(t.job);if(!e)
return;e.last=t,s=new Set([...e.subscribers.values()].map(i=>i.port)),t.t==="rejected"&&this.#t.delete(t.job)}for(let e of s)
e(t)}};function X(r){let t=[...r.values()].map(e=>e.pace),s=t.map(e=>e.max_rate??1/0);return{mode:t.every(e=>e.mode==="l\
atest")?"latest":void 0,max_rate:s.includes(1/0)?void 0:Math.max(...s)}}var T="milepost-0cfdea63",P=(r,t)=>JSON.stringify([T,import.meta.url,r,t]);function D(){let r=globalThis,[t,,s,e]=f(r.
name)??[];if(t!==T||!r.SharedWorkerGlobalScope)return;let i=new b(s,e),n=new Promise(o=>{navigator.locks.request(`${r.name}\
 worker`,()=>new Promise(()=>o()))});r.onconnect=({ports:[o]})=>{let h=c=>o.postMessage(c);o.onmessage=({data:c})=>i.receive(
h,c),n.then(()=>h({t:"hello"}))}}var q="document"in globalThis,y=Math.random().toString(36),v=class{#t=new Set;connection="connecting";reason="";skew=0;#s=null;#n=!1;#e=[];constructor(t,s,e){
if(this.url=t,this.token=s,this.name=P(t,s),this.isShared=e&&q&&navigator.locks,this.#r(),!!q){for(let i of["visibilityc\
hange","online","offline","pageshow"])addEventListener(i,()=>{if(!document.hidden){this.#n?this.#r():this.#s?.({t:"probe"});
for(let n of this.#t)n.onConnection()}});addEventListener("pagehide",()=>this.#a())}}add(t){this.#t.add(t),this.#s?.(t.command(
"watch"))}delete(t){this.#t.delete(t),this.#s?.(t.command("unwatch"))}#i=t=>{if(t.t==="clock"){this.skew=t.skew;return}t.
t==="connection"&&({connection:this.connection,reason:this.reason}=t),this.connection==="failed"&&t.t==="connection"&&console.
warn(`milepost: ${this.reason}`);for(let s of this.#t)t.t==="connection"?s.onConnection():t.job===s.jobId&&s.onMessage(t)};#o(t,s){
this.#s=t,t({t:"open",lock:s});for(let e of this.#t)t(e.command("watch"))}#r(){this.#n=!1;let t=y+this.name;this.isShared?
this.#l(t,()=>this.#f(t)):this.#c()}#a(){this.#n=!0,this.#s?.({t:"bye"}),this.#s=null;for(let t of this.#e.reverse())t();
this.#e=[]}#l(t,s){let e=new AbortController,i=new Promise(n=>{this.#e.push(n,()=>e.abort())});navigator.locks.request(t,
{signal:e.signal},()=>(s(),i)).catch(n=>{n.name!=="AbortError"&&this.#c()})}#c(){let t=new b(this.url,this.token);return this.#e.
push(()=>t.session.close()),this.#o(s=>t.receive(this.#i,s)),t}#f(t){let s=this.#e;new Promise((i,n)=>{let o=new URL(import.meta.
url);if(o.origin!==location.origin||!o.pathname.endsWith("/milepost.js"))throw o;let h=new SharedWorker(o,{type:"module",
name:this.name});h.onerror=n,setTimeout(n,3e3),h.port.onmessage=({data:c})=>c.t==="hello"?i(h.port):this.#i(c)}).then(i=>{
s===this.#e&&(this.#o(n=>i.postMessage(n),t),this.#l(`${this.name} worker`,()=>{this.#a(),this.#r()}))},()=>s===this.#e&&
this.#p(t))}#p(t){let s=new BroadcastChannel(this.name),e=null,i=new Map;s.onmessage=({data:{from:n,to:o,command:h,message:c}})=>{
if(n&&e){let a=i.get(n)??(l=>s.postMessage({to:n,message:l}));i.set(n,a),h.t==="bye"&&i.delete(n),e.receive(a,h)}else o===
y?this.#i(c):o==="*"&&this.#s&&this.#o(this.#s,t)},this.#e.push(()=>s.close()),this.#o(n=>s.postMessage({from:y,command:n}),
t),this.#l(this.name,()=>{e=this.#c(),s.postMessage({to:"*"})})}};var H=3e4,K=5e3,V=3,Q=.01,Z=3e4,tt=.2,x=r=>typeof r=="string"?Date.parse(r):NaN,k=class{#t=null;#s=0;#n={at:0,progress:0};#e={
at:0,progress:0};#i=-1;#o=0;#r=0;#a=0;note(t,s){let e=this.#t;this.#t=t,this.#s=s;let i=typeof t.progress=="number"&&t.status===
"processing"?t.progress:NaN;if((e?.attempt!==t.attempt||!(i>=this.#e.progress))&&(this.#i=-1),isNaN(i))return;if(this.#i<
0)return this.#l(i,s);if(i===this.#e.progress)return;let n=s-this.#e.at,o=Math.max(Z,tt*(s-this.#n.at)),h=o/(o+n);this.#o=
this.#o*h+i-this.#e.progress,this.#r=this.#r*h+n,this.#a=this.#a*h+1,this.#i+=1,this.#e={at:s,progress:i}}#l(t,s){this.#i=
this.#o=this.#r=this.#a=0,this.#n=this.#e={at:s,progress:t}}get#c(){return this.#t?.status==="processing"}silentFor(t){return this.#c?
Math.max(0,t-(x(this.#t?.last_seen_at)||this.#s)):null}standsFor(t){return this.#c?Math.max(0,t-(x(this.#t?.progressed_at)||
this.#e.at||this.#s)):null}health(t){let{health:s}=this.#t??{};return!this.#t||u(this.#t)?"ok":s==="ok"||s==="stalled"||
s==="lost"?s:(this.silentFor(t)??0)>H?"lost":"ok"}rate(t){let{at:s,progress:e}=this.#e;if(!this.#c||this.#i<V||this.health(
t)!=="ok"||s-this.#n.at<K||e-this.#n.progress<Q)return null;let i=Math.max(0,t-s-2*this.#r/this.#a);return this.#o/(this.#r+
i)*1e3}timeLeft(t){let s=x(this.#t?.eta);if(this.#c&&this.health(t)==="ok"&&s)return s>t?s-t:null;let e=this.rate(t);if(e===
null)return null;let i=(1-this.#e.progress)/e*1e3-(t-this.#e.at);return i>0?i:null}};var st=0,N=class{state=null;known=null;connection="connecting";error=null;#t=[];#s=[];#n=()=>{};#e=`${y} ${++st}`;#i=!1;#o=!1;#r=!1;#a="";#l=new k;constructor(t,s,e){
this.jobId=t,this.options=s,this.client=e,this.pace={mode:s.mode,max_rate:s.maxRate},s.since&&this.#t.push(s.since),e.add(
this),this.onConnection(),s.signal?.addEventListener("abort",()=>this.close()),s.signal?.aborted&&this.close()}get position(){
return this.#t.at(-1)}get serverNow(){return Date.now()+this.client.skew}get timeLeft(){return this.connection==="open"?
this.#l.timeLeft(this.serverNow):null}get silentFor(){return this.#l.silentFor(this.serverNow)}get standsFor(){return this.#l.
standsFor(this.serverNow)}get health(){return this.connection==="open"?this.#l.health(this.serverNow):"ok"}close(){this.#i||
(this.#i=!0,this.client.delete(this),this.onConnection(),this.#n())}async*[Symbol.asyncIterator](){try{for(;;){let t=this.#s.
shift();if(t)yield t;else{if(this.error)throw this.error;if(this.#i)return;await new Promise(s=>this.#n=()=>s(void 0))}}}finally{
this.close()}}command(t){return{t,key:this.#e,job:this.jobId,since:this.position,pace:this.pace}}onConnection(){let{connection:t,
reason:s}=this.client,e=t==="failed";if((e||t==="closed")&&!this.#i)return this.#o=e,this.#c(s);let i=t!=="open"&&globalThis.
navigator?.onLine===!1,n=t==="connecting"&&this.#r,o=this.#o?"failed":"closed",h=this.#i?o:i?"offline":n?"reconnecting":
t;this.#r||=t==="open",h!==this.connection&&(this.connection=h,M(this.options.onConnection,h))}onMessage(t){this.#i||(t.
t==="rejected"?this.#c(t.reason):t.t==="state"?this.#f(t.state):this.known!==!1&&(this.known=!1,M(this.options.onUnknown)))}#c(t){
this.error=new Error(t||"rejected"),this.close(),M(this.options.onError,this.error)}#f(t){let{position:s}=t;if(this.#t.some(
o=>d(o,s)>=0))return;let e=this.#t.filter(o=>isNaN(d(o,s)));this.#t=[...e.slice(-3),s],this.state=t,this.#l.note(t,this.
serverNow),this.known=!0;let i=this.#s.at(-1);if(i&&!u(i)&&this.#s.pop(),this.#s=[...this.#s.slice(-8),t],this.#n(),M(this.
options.onState,t),!u(t)||this.#i)return;let n=`${t.attempt} ${t.status} ${t.timestamp}`;n!==this.#a&&M(this.options.onEnd,
t),this.#a=n,this.options.follow||this.close()}},U=new Map,et=r=>new URL(r??"/",globalThis.location?.href).href;function F(r,t={}){
let s=et(t.url),e=t.share??!0,i=JSON.stringify([s,t.token,e]),n=U.get(i)??new v(s,t.token,e);return U.set(i,n),new N(r,t,
n)}function M(r,...t){try{r?.(...t)}catch(s){queueMicrotask(()=>{throw s})}}function it(r){let t=typeof r=="string"?r.split(/\r?\n|\r/).filter(e=>e.trim()):[],s=(t.filter(e=>!/^\s/.test(e)).at(-1)??
t.at(-1)??"").trim();return s.length>300?`${s.slice(0,300)}…`:s}function Ot(r,t){return F(r,t)}D();export{k as Outlook,it as errorSummary,u as isEnd,Ot as watch};
